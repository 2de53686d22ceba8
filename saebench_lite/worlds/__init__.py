"""Synthetic activations whose true features are known.

May import: errors, names, files, stats, metrics, data, models.
"""
