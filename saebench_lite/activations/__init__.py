"""Activations of texts, their cache, and codes pooled over tokens.

May import: errors, files, stats, data, saes, models.
"""
