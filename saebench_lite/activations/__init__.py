"""Activations of texts, their cache, and codes pooled over tokens.

May import: errors, files, data, saes, models.
"""
