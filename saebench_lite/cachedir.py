"""Where pulled data and activations are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """$SAEBENCH_LITE_CACHE, or saebench-lite under $XDG_CACHE_HOME or ~/.cache. Not created here."""
    if given := os.environ.get("SAEBENCH_LITE_CACHE"):
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "saebench-lite"
