"""`verify`: records against their own contents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saebench_lite.cli.terminal import counted


def verify(
    folder: Annotated[Path, typer.Argument(help="A results folder, or one above several.")],
    strict_code: Annotated[
        bool, typer.Option("--strict-code", help="Ask of every record that it names the commit that made it.")
    ] = False,
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="First rewrite records of schema 1 as schema 2, scores untouched.")
    ] = False,
) -> None:
    """Recompute every summary from the stored units and every digest from its parts. Exit status 1 with any fault."""
    from saebench_lite.records import verify as verifying

    roots = verifying.result_folders(folder)
    if upgrade:
        typer.echo(f"{counted(sum(verifying.upgrade(root) for root in roots), 'record')} rewritten as schema 2")
    records, faults = 0, []
    for root in roots:
        count, lines = verifying.verify(root, strict_code)
        records += count
        faults += lines
    for fault in faults:
        typer.echo(fault)
    if faults:
        typer.echo(f"{counted(len(faults), 'fault')} in {counted(records, 'record')}", err=True)
        raise typer.Exit(1)
    typer.echo(f"{counted(records, 'record')}, no fault")
