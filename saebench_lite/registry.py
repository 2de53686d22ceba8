"""Everything that can be named on a command line: tasks, baselines, loaders, sources.

Built-ins are the modules of a package (file stem = name); outsiders come by entry point or by --plugin module.
Listing imports nothing; a thing is imported when it is fetched, so a broken plugin only takes itself down.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from contextlib import suppress
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
    module: str
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
    return _fetch(kind, known[name])


def every(kind: Kind) -> dict[str, Any]:
    """All objects of a kind by name, those left out whose module is broken (`list` shows them)."""
    found = {}
    for name, entry in entries(kind).items():
        with suppress(SaebenchError):
            found[name] = _fetch(kind, entry)
    return found


def _fetch(kind: Kind, entry: Entry) -> Any:
    try:
        return entry.fetch()
    except SaebenchError:
        raise
    except Exception as error:
        raise SaebenchError(
            f"{kind.removesuffix('s')} {entry.name!r} of {entry.package} {entry.version} cannot be imported:"
            f" {type(error).__name__}: {error}"
        ) from error


def owner(kind: Kind, name: str) -> tuple[str, str]:
    """Package and version that bring `name`."""
    entry = entries(kind)[name]
    return entry.package, entry.version


def documentation(kind: Kind, name: str) -> str:
    """The docstring of the module that brings `name`: what it does, by which formula, after which source."""
    get(kind, name)
    return inspect.getdoc(importlib.import_module(entries(kind)[name].module)) or ""


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
            _plugins[kind].append(Entry(name, module, version, module, lambda thing=thing: thing))
            offered += 1
    if not offered:
        raise SaebenchError(f"plugin {module!r} offers nothing; define TASKS, BASELINES, LOADERS or SOURCES (dicts)")


def _built_in(kind: Kind) -> list[Entry]:
    from saebench_lite.version import __version__

    package = importlib.import_module(f"saebench_lite.{kind}")

    def entry(stem: str) -> Entry:
        module = f"saebench_lite.{kind}.{stem}"
        name = stem.replace("_", "-") if kind == "sources" else stem
        fetch = lambda: getattr(importlib.import_module(module), _ATTRIBUTE[kind])  # noqa: E731
        return Entry(name, "saebench-lite", __version__, module, fetch)

    return [entry(m.name) for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")]


def _from_entry_points(kind: Kind) -> list[Entry]:
    found = []
    for point in metadata.entry_points(group=f"saebench_lite.{kind}"):
        dist = point.dist
        package, version = (dist.name, dist.version) if dist else (point.value, "unknown")
        found.append(Entry(point.name, package, version, point.module, point.load))
    return found
