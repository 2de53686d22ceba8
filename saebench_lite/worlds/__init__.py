"""Synthetic activations whose true features are known.

May import: errors, files, stats, data, saes, models.
"""
