"""From a spec on the command line to an SAE: `[name=][loader:]where[/id][@revision]`, or `module:attribute`.

`where` is a local path, else a Hugging Face repository. A path needs no loader: its content tells the format.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from saebench_lite import bundled
from saebench_lite.errors import SaebenchError, reason
from saebench_lite.loading import hub
from saebench_lite.loading.loader import Loader, all_loaders, loader_named
from saebench_lite.loading.spec import Spec, is_path, module_and_attribute, parse
from saebench_lite.loading.untrusted import children, listed
from saebench_lite.saes.conformance import conforming
from saebench_lite.saes.protocol import SAE, HasMeta

MOST_NEAR = 10
"Names like a misspelt one that are looked at."


def load(spec: str | Path) -> SAE:
    """The SAE of a folder, or of a spec `[name=][loader:]where[/id][@revision]` or `module:attribute` as in `--sae`.

    Its `name`, where it has none yet, is that of the spec. SaebenchError with one sentence if it cannot be read or does
    not conform.
    """
    parsed = parse(str(spec))
    sae = conforming(read(parsed))
    if not hasattr(sae, "name"):
        with suppress(AttributeError, TypeError):  # foreign objects may take none
            sae.name = parsed.name  # type: ignore[attr-defined]  # no part of the protocol
    return sae


def is_object(spec: Spec) -> bool:
    """Whether a spec names an importable object and not files."""
    return not (spec.loader or spec.path.exists() or hub.parse(spec.where))


def read(spec: Spec) -> SAE:
    """The SAE of a parsed spec, not checked against the protocol."""
    return read_with_loader(spec)[0]


def read_with_loader(spec: Spec) -> tuple[SAE, str | None]:
    """The SAE of a parsed spec, as `read`, and the name of the loader that read it; None for an importable object."""
    path = spec.path
    if path.exists():
        return _from_path(path, spec)
    if (place := hub.parse(spec.where)) is not None:
        fetched = _fetched(place, spec)
        sae, loader = _from_path(fetched.path, spec)
        if isinstance(sae, HasMeta) and isinstance(sae.meta, dict):
            sae.meta.update(fetched.origin)
        return sae, loader
    if spec.loader:
        return _read_by(loader_named(spec.loader), path), spec.loader
    if (parts := module_and_attribute(spec.where)) is not None:
        return _from_module(*parts), None
    raise SaebenchError(
        f"no file or folder at {spec.where!r}; {_near(spec)}check the path, or write module:attribute for an object"
        " (`saebench-lite list saes` names the bundled ones)"
    )


def check_there(spec: Spec) -> None:
    """SaebenchError where nothing lies at the path that a spec means, with the sentence of `read`.

    A place that a repository or a loader may know is asked for only where it begins like a path of this folder.
    """
    if spec.path.exists() or spec.loader or module_and_attribute(spec.where) is not None:
        return
    if (place := hub.parse(spec.where)) is None:
        read(spec)
    elif is_path(spec.where.partition("/")[0]):
        _fetched(place, spec)


def _fetched(place: hub.Place, spec: Spec) -> hub.Fetched:
    """What a repository holds at a place, on this machine; SaebenchError that asks after a path of a like name too."""
    try:
        return hub.fetch(place, [file for loader in _candidates(spec).values() for file in loader.files])
    except SaebenchError as error:
        if not (near := _near(spec)):
            raise
        raise SaebenchError(f"{error}; {near.removesuffix(' Or ')}") from error


def _near(spec: Spec) -> str:
    """A question after SAEs beside a path, or bundled, under a name like its own; "" where there is none."""
    path, loaders = spec.path, _candidates(spec)
    beside = {p.name: p for p in children(path.parent) if str(p).isprintable()}
    shipped = {p.name: p for p in bundled.sae_folders()} if path.name == str(path) else {}
    close = difflib.get_close_matches(path.name, beside | shipped, n=MOST_NEAR, cutoff=0.8)
    places = [n if n in shipped else str(beside[n]) for n in close if n in shipped or _holds_sae(beside[n], loaders)]
    return f"did you mean {' or '.join(places[:2])}? Or " if places else ""


def _holds_sae(path: Path, loaders: Mapping[str, Loader]) -> bool:
    """Whether a path is an SAE for one of some loaders, or a folder with one below it."""
    own = any(_recognises(loader, path) for loader in loaders.values())
    return own or (path.is_dir() and bool(_below(path, loaders)))


def saes_below(spec: Spec) -> list[Path]:
    """Paths of the SAEs in the folder that a spec names; none where it names an SAE, a single file or no path."""
    path = spec.path
    if not is_path(spec.where) or not path.is_dir():
        return []
    loaders = _candidates(spec)
    return [] if any(_recognises(each, path) for each in loaders.values()) else [p for p, _ in _below(path, loaders)]


def is_stray(spec: Spec) -> bool:
    """Whether a spec names a file beside SAEs, such as a report of their training: one that no loader recognises and
    that has no name of a weights file.
    """
    path = spec.path
    if not is_path(spec.where) or not path.is_file() or path.suffix.lower() in hub.WEIGHTS:
        return False
    return not any(_recognises(each, path) for each in _candidates(spec).values())


def _candidates(spec: Spec) -> dict[str, Loader]:
    """The loader a spec names, or all of them."""
    return {spec.loader: loader_named(spec.loader)} if spec.loader else all_loaders()


def _read_by(loader: Loader, path: Path) -> SAE:
    """What a loader makes of a path; whatever it raises becomes one sentence."""
    try:
        return loader.load(path)
    except SaebenchError:
        raise
    except Exception as error:  # a loader may come from anywhere
        raise SaebenchError(f"{str(path)!r} cannot be read ({reason(error)}); is it what the loader reads?") from error


def _recognises(loader: Loader, path: Path) -> bool:
    """Whether a loader knows a path; one that fails on it does not."""
    try:
        return loader.recognise(path)
    except Exception:  # noqa: BLE001  (a loader may come from anywhere)
        return False


def _from_path(path: Path, spec: Spec) -> tuple[SAE, str]:
    """The SAE at a path, or the only one below it, and its loader's name; several below it are an error that lists
    them.
    """
    loaders = _candidates(spec)
    for name, loader in loaders.items():
        if _recognises(loader, path):
            return _read_by(loader, path), name
    candidates = _below(path, loaders) if path.is_dir() else []
    if len(candidates) == 1:
        only, name = candidates[0]
        return _read_by(loaders[name], only), name
    if candidates:
        choices = listed(str(p.relative_to(path)) for p, _ in candidates)
        raise SaebenchError(f"{spec.where!r} holds {len(candidates)} SAEs; add one of these to the path: {choices}")
    if spec.loader:
        return _read_by(loaders[spec.loader], path), spec.loader
    raise SaebenchError(
        f"no loader recognises {spec.where!r}; name one as loader:path (there are {', '.join(loaders)})"
    )


def _below(root: Path, loaders: Mapping[str, Loader]) -> list[tuple[Path, str]]:
    """(path, name of the loader that recognises it) up to four levels below a folder, among its first 2,000 entries."""
    recognised: list[tuple[Path, str]] = []
    level, seen = [root], 0
    for _ in range(4):
        below = []
        for folder in level:
            for entry in children(folder):
                seen += 1
                if seen > 2000:
                    return recognised
                loader = next((name for name, each in loaders.items() if _recognises(each, entry)), None)
                if loader is not None:
                    recognised.append((entry, loader))
                elif entry.is_dir():
                    below.append(entry)
        level = below
    return recognised


def _from_module(module: str, attribute: str) -> SAE:
    """An SAE, or the result of calling a class or function without arguments, out of an importable module."""
    try:
        thing: Any = importlib.import_module(module)
        for part in attribute.split("."):
            thing = getattr(thing, part)
        return thing() if isinstance(thing, type) or not hasattr(thing, "encode") else thing
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
            raise SaebenchError(
                f"there is no module {error.name!r} for {module}:{attribute}, neither here nor among the installed"
                " packages; check the name, or run where the module lies"
            ) from error
        message = f"{module}:{attribute} gives no SAE: {reason(error)}"
        raise SaebenchError(f"{message}; it must be an SAE or a function without arguments returning one") from error
