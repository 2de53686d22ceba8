"""`cache`: where it is, how large, and what is deleted from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saebench_lite.errors import SaebenchError

Folder = Annotated[Path | None, typer.Option("--cache", help="The folder, where it is not the user's.")]


def show(cache: Folder = None) -> None:
    """Where the cache is and how large: what runs make again, what `data pull` brought, judges' answers."""
    from saebench_lite.activations.cache_size import KINDS, LIMIT, amount, cache_entries, cache_limit
    from saebench_lite.files import cache_root

    root = cache or cache_root()
    entries, limit = cache_entries(root), cache_limit()
    typer.echo(str(root))
    for kind in KINDS:
        typer.echo(f"{kind}: {amount([e for e in entries if e.kind == kind])}")
    size = "no limit" if limit is None else f"{limit / 2**30:g} GiB"
    typer.echo(f"limit of activations and controls after a run: {size} ({LIMIT})")


def clear(
    older_than: Annotated[
        float | None, typer.Option(help="DAYS: only what was not used for so long.", metavar="DAYS")
    ] = None,
    down_to: Annotated[
        float | None, typer.Option(help="GIB: only what was used least recently, until so much is left.", metavar="GIB")
    ] = None,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Pulled models and data too, and judges' answers, which may have to be paid again."),
    ] = False,
    cache: Folder = None,
) -> None:
    """Delete cached activations, preparations and trained controls, which a run makes again where it needs them."""
    from saebench_lite.activations.cache_size import KINDS, MADE_AGAIN, amount, clear_cache, shrink_cache
    from saebench_lite.files import cache_root

    if older_than is not None and not 0 <= older_than < float("inf"):
        raise SaebenchError(f"--older-than is {older_than}; give a number of days, 0 at least")
    if down_to is not None and not 0 <= down_to * 2**30 < float("inf"):
        raise SaebenchError(f"--down-to is {down_to}; give a number of GiB, 0 at least")
    if down_to is not None and (everything or older_than is not None):
        raise SaebenchError("--down-to goes by the time of use of what a run makes again; give it alone")
    root = cache or cache_root()
    if down_to is not None:
        gone = shrink_cache(root, int(down_to * 2**30))
    else:
        gone = clear_cache(root, KINDS if everything else MADE_AGAIN, older_than)
    typer.echo(f"deleted: {amount(gone)}")
