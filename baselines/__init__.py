"""Baselines and controls, one file each. Import them as `saebench_lite.baselines`.

May import: errors, stats, metrics, data, records, saes, models, activations, worlds, api, probes, recipes.
"""

if __name__ != "saebench_lite.baselines":
    raise ImportError(f"these modules are called saebench_lite.baselines, not {__name__}: import them by that name")
