"""The suite's tasks, one file each. Import them as `saebench_lite.tasks`."""

if __name__ != "saebench_lite.tasks":
    raise ImportError(f"these modules are called saebench_lite.tasks, not {__name__}: import them by that name")
