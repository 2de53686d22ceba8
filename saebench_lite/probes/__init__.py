"""Probes on activations and codes: fits, selection of latents, detectors.

May import: errors, stats, metrics, data, saes, activations, api.
"""
