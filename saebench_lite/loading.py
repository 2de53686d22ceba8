"""From a spec on the command line to an SAE: `loader:where`, `name=spec`, a bare path, or `module:attribute`."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from saebench_lite import registry
from saebench_lite.errors import SaebenchError
from saebench_lite.sae import SAE, check_sae


@dataclass(frozen=True, kw_only=True)
class Loader:
    """Reads one family of saved SAEs."""

    claim: str
    "One line: which files it reads."
    load: Callable[[Path], SAE]
    "Folder or file -> SAE on the CPU in float32, its facts (architecture, hook, model) in `meta`."
    recognise: Callable[[Path], bool]
    "Whether the path looks like this family; cheap, reads at most a small header, never raises."
    files: tuple[str, ...] = ()
    "Names of the files it reads, relative to the SAE's folder: all that is fetched of a repository."


@dataclass(frozen=True)
class Spec:
    """A parsed SAE spec."""

    name: str
    loader: str | None
    where: str


def parse(spec: str) -> Spec:
    """`[name=][loader:]where`. The name defaults to the last part of where."""
    name, _, rest = spec.rpartition("=") if re.match(r"^[\w .+-]+=", spec) else ("", "", spec)
    loader, colon, where = rest.partition(":")
    if not colon or loader not in registry.names("loaders"):
        loader, where = "", rest
    if not where:
        raise SaebenchError(f"SAE spec {spec!r} names no place; write loader:folder, name=folder or module:attribute")
    return Spec(name or re.split(r"[/:]", where.rstrip("/"))[-1], loader or None, where)


def load(spec: str) -> tuple[str, SAE]:
    """Name and SAE of a spec; SaebenchError with one sentence if it cannot be read or does not conform."""
    parsed = parse(spec)
    sae = _load(parsed)
    check_sae(sae)
    return parsed.name, sae


def _load(spec: Spec) -> SAE:
    path = Path(spec.where).expanduser()
    if spec.loader:
        return registry.get("loaders", spec.loader).load(path)
    if path.exists():
        for name in registry.names("loaders"):
            if registry.get("loaders", name).recognise(path):
                return registry.get("loaders", name).load(path)
        raise SaebenchError(
            f"no loader recognises {spec.where!r}; name one as loader:path (there are"
            f" {', '.join(registry.names('loaders'))})"
        )
    module, colon, attribute = spec.where.partition(":")
    if colon and re.fullmatch(r"[A-Za-z_][\w.]*", module) and re.fullmatch(r"[A-Za-z_][\w.]*", attribute):
        return _from_module(module, attribute)
    raise SaebenchError(f"no file or folder at {spec.where!r}; check the path, or write module:attribute for an object")


def _from_module(module: str, attribute: str) -> SAE:
    """An SAE, or the result of calling a class or function without arguments, out of an importable module."""
    try:
        thing = importlib.import_module(module)
        for part in attribute.split("."):
            thing = getattr(thing, part)
        if isinstance(thing, type) or not hasattr(thing, "encode"):
            thing = thing()  # type: ignore[operator]
    except Exception as error:
        message = f"{module}:{attribute} gives no SAE: {type(error).__name__}: {error}"
        raise SaebenchError(f"{message}; it must be an SAE or a function without arguments returning one") from error
    return thing  # type: ignore[return-value]
