"""How the bundled model, the bundled SAEs and trained controls are made.

May import: errors, files, stats, metrics, data, saes, loading, loaders, models, activations, sources, bundled, api.
"""
