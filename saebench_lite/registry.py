"""Everything that can be named on a command line: tasks, baselines, loaders, sources.

Built-ins are the modules of a package (file stem = name); outsiders come by entry point or by --plugin module.
Listing imports nothing; a thing is imported when it is fetched, so a broken plugin only takes itself down.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from importlib import metadata
from typing import Any, Literal, NamedTuple

from saebench_lite.errors import SaebenchError

Kind = Literal["tasks", "baselines", "loaders", "sources"]
KINDS: tuple[Kind, ...] = ("tasks", "baselines", "loaders", "sources")
_ATTRIBUTE = {"tasks": "TASK", "baselines": "BASELINE", "loaders": "LOADER", "sources": "SOURCE"}


class Entry(NamedTuple):
    """A name, who owns it, and how to get it."""

    name: str
    package: str
    version: str
    fetch: Callable[[], Any]


_plugins: dict[Kind, list[Entry]] = {kind: [] for kind in KINDS}


def entries(kind: Kind) -> dict[str, Entry]:
    """All entries of a kind by name, sorted; two owners of one name are an error that names both."""
    found: dict[str, Entry] = {}
    for entry in [*_built_in(kind), *_from_entry_points(kind), *_plugins[kind]]:
        if entry.name in found:
            owners = f"{found[entry.name].package} and {entry.package}"
            raise SaebenchError(f"two {kind} are called {entry.name!r}, from {owners}; uninstall or rename one")
        found[entry.name] = entry
    return dict(sorted(found.items()))


def names(kind: Kind) -> list[str]:
    """Names of a kind, sorted; imports nothing."""
    return list(entries(kind))


def get(kind: Kind, name: str) -> Any:
    """The object called `name`; SaebenchError with the near misses if there is none, or if its module is broken."""
    known = entries(kind)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known)}"
        raise SaebenchError(f"no {kind.removesuffix('s')} is called {name!r}; {hint}")
    entry = known[name]
    try:
        return entry.fetch()
    except SaebenchError:
        raise
    except Exception as error:
        raise SaebenchError(
            f"{kind.removesuffix('s')} {name!r} of {entry.package} {entry.version} cannot be imported:"
            f" {type(error).__name__}: {error}"
        ) from error


def owner(kind: Kind, name: str) -> tuple[str, str]:
    """Package and version that bring `name`."""
    entry = entries(kind)[name]
    return entry.package, entry.version


def add_plugin(module: str) -> None:
    """Registers what an importable module offers: dicts TASKS, BASELINES, LOADERS, SOURCES of name -> object."""
    try:
        loaded = importlib.import_module(module)
    except Exception as error:
        raise SaebenchError(f"plugin {module!r} cannot be imported: {type(error).__name__}: {error}") from error
    version = str(getattr(loaded, "__version__", "unknown"))
    offered = 0
    for kind in KINDS:
        for name, thing in getattr(loaded, kind.upper(), {}).items():
            _plugins[kind] = [e for e in _plugins[kind] if (e.package, e.name) != (module, name)]
            _plugins[kind].append(Entry(name, module, version, lambda thing=thing: thing))
            offered += 1
    if not offered:
        raise SaebenchError(f"plugin {module!r} offers nothing; define TASKS, BASELINES, LOADERS or SOURCES (dicts)")


def _built_in(kind: Kind) -> list[Entry]:
    from saebench_lite import __version__

    package = importlib.import_module(f"saebench_lite.{kind}")

    def fetcher(stem: str) -> Callable[[], Any]:
        return lambda: getattr(importlib.import_module(f"saebench_lite.{kind}.{stem}"), _ATTRIBUTE[kind])

    stems = [m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")]
    return [Entry(stem.replace("_", "-") if kind == "sources" else stem, "saebench-lite", __version__, fetcher(stem))
            for stem in stems]  # fmt: skip


def _from_entry_points(kind: Kind) -> list[Entry]:
    found = []
    for point in metadata.entry_points(group=f"saebench_lite.{kind}"):
        dist = point.dist
        found.append(
            Entry(point.name, dist.name if dist else point.value, dist.version if dist else "unknown", point.load)
        )
    return found
