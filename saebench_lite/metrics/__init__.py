"""Formulas of the scores, as pure functions of tensors.

May import: progress, stats.
"""
