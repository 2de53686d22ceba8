"""`records`: what is done to the records of a results folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saebench_lite.cli.tables import write_tables
from saebench_lite.cli.terminal import counted
from saebench_lite.report.markup import visible


def rm(
    folder: Annotated[Path, typer.Argument(help="A results folder.")],
    failed: Annotated[bool, typer.Option("--failed", help="Records of what failed.")] = False,
    subject: Annotated[
        str | None, typer.Option(help="Records of this SAE, baseline or control; with --failed, its failed ones.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be dropped.")] = False,
) -> None:
    """Drop failed records, or those of a subject, and write the folder's tables anew. Asks nothing."""
    from saebench_lite.records.record import TABLES, paths_of
    from saebench_lite.records.removal import chosen, remove

    records = chosen(folder, failed=failed, subject=subject)
    for record in records:
        why = f": {record.reason}" if record.reason else ""
        typer.echo(visible(f"{record.subject.name}, {record.task.name}, {record.status}{why}"))
    if not dry_run:
        remove(records, folder)
        if any((folder / name).exists() for name in TABLES):
            if paths_of(folder):
                write_tables(folder)
            else:
                for name in TABLES:
                    (folder / name).unlink(missing_ok=True)
    typer.echo(f"{counted(len(records), 'record')} {'would be dropped' if dry_run else 'dropped'}", err=True)
