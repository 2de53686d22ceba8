"""What a loader declares: the files of one family of saved SAEs, and how to read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from saebench_lite.saes.protocol import SAE


@dataclass(frozen=True, kw_only=True)
class Loader:
    """Reads one family of saved SAEs."""

    description: str
    "One line: which files it reads."
    load: Callable[[Path], SAE]
    "Folder or file -> SAE on the CPU in float32, its facts (architecture, hook, model) in `meta`."
    recognise: Callable[[Path], bool]
    "Whether the path looks like this family; cheap, reads at most a small header, never raises."
    files: tuple[str, ...] = ()
    "Names of the files it reads, relative to the SAE's folder: all that is fetched of a repository."
