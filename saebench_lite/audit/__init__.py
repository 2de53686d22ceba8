"""The suite's own metrics on trial, on worlds whose truth is known.

May import: errors, progress, names, registry, files, stats, data, records, report, plots, saes, loaders, worlds,
api, probes, recipes, runs, models, metrics, bundled.
"""
