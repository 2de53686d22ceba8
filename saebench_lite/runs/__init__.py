"""One run, from its configuration to its records.

May import: version, errors, names, registry, files, stats, metrics, data, records, saes, loading, models, activations, sources,
worlds, api, bundled.
"""
