"""What a run needs of its machine, checked before anything is loaded."""

from __future__ import annotations

from saebench_lite.activations.cache_size import cache_limit
from saebench_lite.files import check_folder, check_place
from saebench_lite.models.devices import resolved
from saebench_lite.runs.config import RunConfig


def check_machine(config: RunConfig, *, make: bool) -> None:
    """SaebenchError for a folder that cannot be written to, a device that is not here, or a limit that is no size.

    make: whether the folders are made.
    """
    cache_limit()
    check = check_folder if make else check_place
    for field, folder in (("out", config.out), ("cache", config.cache)):
        if folder is not None:
            check(field, folder)
    for device in config.devices:
        resolved(device)
