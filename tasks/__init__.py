"""The suite's tasks, one file each. Import them as `saebench_lite.tasks`.

May import: errors, files, progress, stats, metrics, data, records, saes, models, activations, worlds, api, probes,
bundled.
"""

if __name__ != "saebench_lite.tasks":
    raise ImportError(f"these modules are called saebench_lite.tasks, not {__name__}: import them by that name")
