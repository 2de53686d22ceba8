"""`advise-l0`: what the diagnostics of mixed features say of the L0 of a family of SAEs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from saebench_lite.cli.terminal import records_of
from saebench_lite.report.markup import visible


def advise_l0(
    folder: Annotated[Path, typer.Argument(help="A results folder with records of l0_diagnostics.")] = Path(
        "saebench-lite-results"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print rows as JSON instead of tables.")] = False,
) -> None:
    """Is the L0 of SAEs of one architecture too low, plausible or too high? Needs several L0 of each."""
    from saebench_lite.report import l0_advice

    found = l0_advice.advice(records_of(folder))
    if as_json:
        typer.echo(json.dumps(l0_advice.to_rows(found), indent=1))
    else:
        typer.echo(visible(l0_advice.to_text(found)), nl=False)
