"""Everything that can be named on a command line: tasks, baselines, loaders, sources.

Built-ins are the modules of a package (file stem = name); outsiders come by entry point or by --plugin module.
Listing imports nothing; a thing is imported when it is fetched, so a broken plugin only takes itself down. What is
installed is looked up once.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from typing import Any, Literal, NamedTuple

from saebench_lite.errors import SaebenchError, kind_of, reason

Kind = Literal["tasks", "baselines", "loaders", "sources"]
KINDS: tuple[Kind, ...] = ("tasks", "baselines", "loaders", "sources")
OURS = "saebench-lite"
"The package of what is built in."
_ATTRIBUTE = {"tasks": "TASK", "baselines": "BASELINE", "loaders": "LOADER", "sources": "SOURCE"}


class Entry(NamedTuple):
    """A name, the package that offers it, and how to get it."""

    name: str
    package: str
    version: str
    module: str
    fetch: Callable[[], Any]


_plugins: list[tuple[Kind, Entry]] = []
_scanned: dict[Kind, dict[str, list[Entry]]] = {}
"Owners of each name by kind, filled on first use; emptied whenever a plugin is added."


def _owners(kind: Kind) -> dict[str, list[Entry]]:
    """Who offers each name of a kind, sorted by name; usually one."""
    if kind not in _scanned:
        owners: dict[str, list[Entry]] = {}
        added = [entry for of, entry in _plugins if of == kind]
        for entry in [*_built_in(kind), *_from_entry_points(kind), *added]:
            owners.setdefault(entry.name, []).append(entry)
        _scanned[kind] = dict(sorted(owners.items()))
    return _scanned[kind]


def names(kind: Kind) -> list[str]:
    """Names of a kind, sorted; imports nothing."""
    return list(_owners(kind))


def entry(kind: Kind, name: str) -> Entry:
    """Who offers `name`; SaebenchError with the near misses if nobody does, with the owners if several do."""
    known = _owners(kind)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known)}"
        raise SaebenchError(f"no {kind.removesuffix('s')} is called {name!r}; {hint}")
    first, *others = known[name]
    if others:
        owners = " and ".join(each.package for each in known[name])
        count = "two" if len(others) == 1 else len(others) + 1
        raise SaebenchError(f"{count} {kind} are called {name!r}, from {owners}; uninstall or rename one")
    return first


def get(kind: Kind, name: str) -> Any:  # Any: a plugin may offer anything; `api.registered` and `loading.loader` check
    """The object called `name`, unchecked (see `api.registered` and `loading.loader` for checked ones).

    SaebenchError if there is none, if several packages offer one, or if its module cannot be imported.
    """
    offered = entry(kind, name)
    try:
        return offered.fetch()
    except SaebenchError:
        raise
    except Exception as error:
        package = f"{offered.package} {offered.version}"
        raise SaebenchError(
            f"{kind.removesuffix('s')} {name!r} of {package} cannot be imported: {reason(error)}"
        ) from error


def get_all(kind: Kind) -> dict[str, Any]:  # Any: as `get`
    """All objects of a kind by name; a name whose module is broken or that several packages claim is left out."""
    objects = {}
    for name in names(kind):
        with suppress(SaebenchError):
            objects[name] = get(kind, name)
    return objects


def owner(kind: Kind, name: str) -> tuple[str, str]:
    """Package and version that offer `name`."""
    offered = entry(kind, name)
    return offered.package, offered.version


def documentation(kind: Kind, name: str) -> str:
    """The docstring of the module that offers `name`: what it does, by which formula, after which source."""
    get(kind, name)
    return inspect.getdoc(importlib.import_module(entry(kind, name).module)) or ""


def add(kind: Kind, new: Entry) -> None:
    """Registers one entry; the same name of the same package is replaced."""
    _plugins[:] = [(k, e) for k, e in _plugins if (k, e.package, e.name) != (kind, new.package, new.name)]
    _plugins.append((kind, new))
    _scanned.clear()


def add_plugin(module: str) -> None:
    """Registers what an importable module offers: dicts TASKS, BASELINES, LOADERS, SOURCES of name -> object."""
    try:
        loaded = importlib.import_module(module)
    except Exception as error:
        hint = "; give the name of a module, as in `import`, not its file" if module.endswith(".py") else ""
        raise SaebenchError(f"plugin {module!r} cannot be imported: {reason(error)}{hint}") from error
    version = str(vars(loaded).get("__version__", "unknown"))
    offered = 0
    for kind in KINDS:
        things = vars(loaded).get(kind.upper(), {})
        if not isinstance(things, dict):
            raise SaebenchError(f"{kind.upper()} of plugin {module!r} is {kind_of(things)}; a dict is needed")
        for name, thing in things.items():
            add(kind, Entry(str(name), module, version, module, lambda thing=thing: thing))
            offered += 1
    if not offered:
        raise SaebenchError(f"plugin {module!r} offers nothing; define TASKS, BASELINES, LOADERS or SOURCES (dicts)")


def entry_of(kind: Kind, name: str, thing: object, maker: Callable[..., object]) -> tuple[Kind, Entry]:
    """What `lent` takes for an object that no file or package offers.

    Args:
        kind: what it is.
        name: what it is called.
        thing: the object.
        maker: a function of it, whose module stands for its package, as with a plugin.
    """
    module = getattr(maker, "__module__", None) or "__main__"
    version = str(getattr(sys.modules.get(module), "__version__", "unknown"))
    return kind, Entry(name, module, version, module, lambda: thing)


@contextmanager
def lent(entries: Sequence[tuple[Kind, Entry]]) -> Iterator[None]:
    """Inside the block these entries are registered too; the same name of the same package is replaced for so long."""
    before = list(_plugins)
    for kind, new in entries:
        add(kind, new)
    try:
        yield
    finally:
        later = [item for item in _plugins if item not in before and item not in entries]
        _plugins[:] = [*before, *later]
        _scanned.clear()


@contextmanager
def only_within() -> Iterator[None]:
    """Plugins added inside the block are gone after it, and those added before are not seen in it."""
    before = list(_plugins)
    _plugins.clear()
    _scanned.clear()
    try:
        yield
    finally:
        _plugins[:] = before
        _scanned.clear()


def _built_in(kind: Kind) -> list[Entry]:
    from saebench_lite.version import __version__

    package = importlib.import_module(f"saebench_lite.{kind}")

    def of_file(stem: str) -> Entry:
        module = f"saebench_lite.{kind}.{stem}"
        name = stem.replace("_", "-") if kind == "sources" else stem
        fetch = lambda: getattr(importlib.import_module(module), _ATTRIBUTE[kind])  # noqa: E731
        return Entry(name, OURS, __version__, module, fetch)

    return [of_file(m.name) for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")]


def _from_entry_points(kind: Kind) -> list[Entry]:
    entries = []
    for point in metadata.entry_points(group=f"saebench_lite.{kind}"):
        dist = point.dist
        package, version = (dist.name, dist.version) if dist else (point.value, "unknown")
        entries.append(Entry(point.name, package, version, point.module, point.load))
    return entries
