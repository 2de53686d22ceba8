"""How the bundled model, the bundled SAEs and trained controls are made.

May import: errors, names, files, stats, metrics, data, saes, loaders, models, activations, sources, bundled, api.
"""
