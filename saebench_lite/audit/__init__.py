"""The suite's own metrics on trial, on worlds whose truth is known.

May import: errors, registry, files, stats, data, records, report, saes, loading, loaders, worlds, api, recipes, runs,
bundled.
"""
