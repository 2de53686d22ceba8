"""What a loader declares: the files of one family of saved SAEs, and how to read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from saebench_lite import registry
from saebench_lite.errors import SaebenchError, kind_of
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


def loader_named(name: str) -> Loader:
    """The registered loader called `name`; SaebenchError if there is none, it is broken, or it is no `Loader`."""
    thing = registry.get("loaders", name)
    if not isinstance(thing, Loader):
        raise SaebenchError(f"loader {name!r} is {kind_of(thing)}, not a Loader; its LOADER must be one")
    return thing


def all_loaders() -> dict[str, Loader]:
    """Every loader that works, by name."""
    return {name: thing for name, thing in registry.get_all("loaders").items() if isinstance(thing, Loader)}
