"""Files of the suite: atomic writes, digests of JSON values, the cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from pathlib import Path


def digest(identity: object) -> str:
    """16 hex digits of a JSON value, independent of key order."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def safe_name(name: str) -> str:
    """A file name made of a subject's name; different names may share one, the digest keeps them apart."""
    return re.sub(r"[^\w.+-]", "_", name)[:80].lstrip(".") or "_"


def write_text(path: Path, text: str) -> None:
    """Atomic write: a temporary file beside the target, flushed, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".partial-")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def cache_root() -> Path:
    """$SAEBENCH_LITE_CACHE, or saebench-lite under $XDG_CACHE_HOME or ~/.cache. Not created here."""
    if given := os.environ.get("SAEBENCH_LITE_CACHE"):
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "saebench-lite"
