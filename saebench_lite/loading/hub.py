"""SAEs out of Hugging Face repositories: `owner/repository[/id][@revision]`, fetching no more than one SAE's files."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from saebench_lite.errors import SaebenchError, reason
from saebench_lite.loading.untrusted import listed

WEIGHTS = (".safetensors", ".pt", ".pth", ".npz")


CONFIGS = (".json", ".yaml")


PLACE = re.compile(r"(?P<repo>[\w][\w.-]*/[\w][\w.-]*)(?:/(?P<id>[^@]+?))?/?(?:@(?P<revision>[\w./-]+))?")


class Place(NamedTuple):
    """A repository, the SAE inside it, and the revision asked for."""

    repo: str
    id: str
    "Folder or file within the repository; empty for its root."
    revision: str | None


class Fetched(NamedTuple):
    """Where an SAE's files lie on this machine, and where they came from."""

    path: Path
    origin: dict[str, str]
    "repo, revision, id: for the SAE's metadata"


def parse(where: str) -> Place | None:
    """The place a spec names, or None if it cannot be one (a local path, a module, a name without a slash)."""
    match = PLACE.fullmatch(where)
    if match is None or ".." in where.split("/"):
        return None
    return Place(match["repo"], (match["id"] or "").strip("/"), match["revision"])


def fetch(place: Place, files: Iterable[str]) -> Fetched:
    """Downloads those of `files` (names relative to the SAE's folder) that the place has, or finds them in the cache.

    The commit is recorded. SaebenchError in one sentence if the repository, revision or id does not exist, cannot be
    reached, or holds several SAEs and the place names none.
    """
    from huggingface_hub import snapshot_download

    try:
        patterns = _inside(place, files) if place.id else _at_root(place)
        local = patterns is None
        root = Path(
            snapshot_download(place.repo, revision=place.revision, allow_patterns=patterns, local_files_only=local)
        )
    except SaebenchError:
        raise
    except Exception as error:  # a hub, a network and a cache fail in many ways
        raise SaebenchError(_unreachable(place, error)) from error
    path = root / place.id
    if not path.exists():
        raise SaebenchError(_absent(place))
    origin = {"repo": place.repo, "revision": root.name} | ({"id": place.id} if place.id else {})
    return Fetched(path, origin)


def _inside(place: Place, files: Iterable[str]) -> list[str]:
    """The id itself and the known files in and beside it, as exact patterns."""
    names = [posixpath.normpath(posixpath.join(place.id, name)) for name in files]
    return [_escaped(name) for name in dict.fromkeys([place.id, *names]) if not name.startswith("../")]


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def _at_root(place: Place) -> list[str] | None:
    """What to fetch where no id is given: the only SAE, or the only one at the root; None: what the cache holds."""
    try:
        names = _names(place)
    except Exception:  # noqa: BLE001  (offline, or no such repository, which fetching then says)
        return None
    weights = [name for name in names if name.endswith(WEIGHTS)]
    root = [name for name in weights if "/" not in name]
    if len(weights) != 1 and len(root) != 1:
        raise SaebenchError(
            f"repository {place.repo} holds {len(weights)} weight files; name one SAE of it as {place.repo}/<id>, where"
            f" <id> is one of {listed(_ids(weights))}"
        )
    chosen = (root or weights)[0]
    folder = str(PurePosixPath(chosen).parent)
    return [_escaped(name) for name in names if name == chosen or _is_config(name, folder)]


def _is_config(name: str, folder: str) -> bool:
    return name.endswith(CONFIGS) and str(PurePosixPath(name).parent) in (folder, ".")


def _names(place: Place) -> list[str]:
    from huggingface_hub import list_repo_files

    return list_repo_files(place.repo, revision=place.revision)


def _ids(weights: Iterable[str]) -> list[str]:
    """Folders that hold weights, or files at the root."""
    folders = (str(PurePosixPath(name).parent) if "/" in name else name for name in weights)
    return sorted(dict.fromkeys(folder.removesuffix("/checkpoints") for folder in folders))


def _absent(place: Place) -> str:
    try:
        ids = _ids(n for n in _names(place) if n.endswith(WEIGHTS))
        near = [i for i in ids if i.startswith(place.id.split("/")[0])] or ids
        hint = f"it holds {listed(near)}"
    except Exception:  # noqa: BLE001  (offline)
        hint = "or it is not in the local cache"
    return f"repository {place.repo} has no SAE {place.id!r}; {hint}"


def _unreachable(place: Place, error: Exception) -> str:
    what = f"{place.repo}@{place.revision}" if place.revision else place.repo
    return (
        f"no file or folder at {'/'.join(filter(None, [place.repo, place.id]))!r}, and the Hugging Face repository"
        f" {what} cannot be had ({reason(error, 120).rstrip('.')}); check the name, the network and access"
    )
