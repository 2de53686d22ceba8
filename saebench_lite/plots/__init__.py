"""Figures for papers, and the tables that they show. Matplotlib is imported on use.

May import: errors, progress, files, stats, records, report. Never: torch.
"""
