"""`cache`: where it is, how large, and what is deleted from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saebench_lite.errors import SaebenchError

if TYPE_CHECKING:
    from saebench_lite.activations.cache_size import CacheEntry

Folder = Annotated[Path | None, typer.Option("--cache", help="The folder, where it is not the user's.")]


def show(cache: Folder = None) -> None:
    """Where the cache is and how large: activations, preparations, trained controls, and what `data pull` brought."""
    from saebench_lite.activations.cache_size import KINDS, cache_entries
    from saebench_lite.files import cache_root

    root = cache or cache_root()
    entries = cache_entries(root)
    typer.echo(str(root))
    for kind in KINDS:
        typer.echo(_line(kind, [e for e in entries if e.kind == kind]))


def clear(
    older_than: Annotated[
        float | None, typer.Option(help="DAYS: only what was not used for so long.", metavar="DAYS")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Pulled models and data sets too, which have to be pulled again.")
    ] = False,
    cache: Folder = None,
) -> None:
    """Delete cached activations, preparations and trained controls, which a run makes again where it needs them."""
    from saebench_lite.activations.cache_size import KINDS, MADE_AGAIN, clear_cache
    from saebench_lite.files import cache_root

    if older_than is not None and not 0 <= older_than < float("inf"):
        raise SaebenchError(f"--older-than is {older_than}; give a number of days, 0 at least")
    gone = clear_cache(cache or cache_root(), KINDS if everything else MADE_AGAIN, older_than)
    typer.echo(_line("deleted", gone))


def _line(what: str, entries: Sequence[CacheEntry]) -> str:
    size = sum(e.size for e in entries)
    amount = f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
    return f"{what}: {amount} in {len(entries)} entr{'y' if len(entries) == 1 else 'ies'}"
