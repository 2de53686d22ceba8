"""Texts and labels: corpora, splits, training regimes, samples.

May import: errors, files, stats. Never: torch.
"""
