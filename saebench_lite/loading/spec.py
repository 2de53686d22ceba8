"""SAE specs: `[name=][loader:]where[/id][@revision]`, or `module:attribute`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from saebench_lite import bundled, registry
from saebench_lite.errors import SaebenchError
from saebench_lite.loading import hub


@dataclass(frozen=True)
class Spec:
    """A parsed SAE spec."""

    name: str
    loader: str | None
    where: str
    named: bool = False
    "Whether the spec gives the name, and not `where`."

    @property
    def path(self) -> Path:
        """The local path meant, whether something lies there or not: a bundled SAE's name stands for its folder."""
        shipped = next((folder for folder in bundled.sae_folders() if folder.name == self.where), None)
        return Path(self.where).expanduser() if shipped is None or is_path(self.where) else shipped

    def name_for(self, where: str) -> str:
        """The name of an SAE that lies at another place."""
        return self.name if self.named else _name_of(where)


def parse(spec: str) -> Spec:
    """`[name=][loader:]where[/id][@revision]`. The name defaults to the last part of a place, and to all of
    `module:attribute`.

    The first "=" ends the name, unless the whole is a path that exists: a place may hold others.
    """
    name, _, rest = spec.partition("=") if re.match(r"^[\w .+-]+=", spec) else ("", "", spec)
    if name and is_path(spec) and not is_path(rest):  # a folder called lr=0.1
        name, rest = "", spec
    loader, colon, where = rest.partition(":")
    if not colon or loader not in registry.names("loaders"):
        loader, where = "", rest
    if not where:
        raise SaebenchError(f"SAE spec {spec!r} names no place; write loader:folder, name=folder or module:attribute")
    return Spec(name or _name_of(where), loader or None, where, bool(name))


def is_path(where: str) -> bool:
    """Whether something lies at a local path."""
    try:
        return Path(where).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, a null byte, a home that is not known
        return False


def module_and_attribute(where: str) -> tuple[str, str] | None:
    """The two parts of `module:attribute`; None for anything else."""
    parts = re.fullmatch(r"([A-Za-z_][\w.]*):([A-Za-z_][\w.]*)", where)
    return None if parts is None else (parts[1], parts[2])


def _name_of(where: str) -> str:
    if module_and_attribute(where) and not is_path(where):
        return where
    if (place := hub.parse(where)) is not None:
        where = f"{place.repo}/{place.id}"
    return re.split(r"[/:]", where.rstrip("/"))[-1]
