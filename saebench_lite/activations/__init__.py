"""Activations of texts, their cache, and codes pooled over tokens.

May import: errors, progress, files, data, saes, models.
"""
