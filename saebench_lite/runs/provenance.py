"""What made a record: versions, commit, machine, time, memory. Nothing here may change a score."""

from __future__ import annotations

import functools
import platform
import resource
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("saebench-lite", "torch", "transformers", "tokenizers", "numpy", "safetensors", "datasets")


@functools.cache
def environment() -> dict[str, Any]:
    """Versions of what computes, and the commit of this package where it runs from a checkout."""
    import torch

    from saebench_lite.version import __version__

    packages = {"saebench-lite": __version__}
    for name in _PACKAGES[1:]:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "packages": packages,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "gpu": gpu,
        "threads": torch.get_num_threads(),
        "code": _commit(),
    }


def _commit() -> str | None:
    """Commit of the checkout this package lies in, "+" when it was edited; None for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True).stdout

    try:
        edited = git("status", "--porcelain", "--untracked-files=no", "--", "saebench_lite", "tasks", "baselines")
        return git("rev-parse", "HEAD").strip() + ("+" if edited.strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def peak_gib() -> float:
    """Peak resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30, 3)


def made(*, device: str, seconds: float, notes: list[str]) -> dict[str, Any]:
    """The provenance of one record."""
    return {
        **environment(),
        "device": device,
        "seconds": round(seconds, 3),
        "peak_gib": peak_gib(),
        "notes": notes,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
