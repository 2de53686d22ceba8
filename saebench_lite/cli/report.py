"""Commands that read records and load neither models nor SAEs: leaderboard, compare, quiver."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from saebench_lite.cli.terminal import fitting, on_terminal, records_of, say_doubts
from saebench_lite.errors import SaebenchError
from saebench_lite.report.markup import visible

Metrics = Annotated[Literal["headline", "all"], typer.Option(help="Those that tasks show unasked, or all.")]


def leaderboard(
    folder: Annotated[Path, typer.Argument(help="A results folder.")] = Path("saebench-lite-results"),
    format: Annotated[
        str | None,
        typer.Option(
            "--format", help="md, csv, json, latex, html, and files for other tools: parquet, hf, saebench, eee."
        ),
    ] = None,
    metrics: Metrics = "headline",
    columns: Annotated[
        str | None, typer.Option(help="Metrics to show, comma-separated, as wide as the terminal is.")
    ] = None,
    wide: Annotated[bool, typer.Option("--wide", help="All columns, intervals and notes on a terminal too.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write to this file; of hf, saebench and eee a folder.")] = None,
) -> None:
    """Tables from the records of a folder: no model, no SAE, no GPU."""
    from saebench_lite.files import check_file, write_text
    from saebench_lite.report.exports import EXPORTS, export
    from saebench_lite.report.leaderboard import FORMATS, leaderboard_text

    if columns is not None and (format is not None or wide):
        raise SaebenchError(f"--columns {columns} is for the terminal; leave out --format and --wide")
    if format is not None and format not in (*FORMATS, *EXPORTS):
        raise SaebenchError(f"format {format!r} is not known; choose from {', '.join((*FORMATS, *EXPORTS))}")
    if format in EXPORTS:
        if out is None:
            raise SaebenchError(f"format {format} is for other tools and is not printed; name a place with --out")
        written = export(records_of(folder), format, out, metrics)
        typer.echo(f"wrote {out}" if written == [out] else f"wrote {len(written)} file(s) to {out}")
        return
    if out is not None:
        check_file("out", out)
    records = records_of(folder)
    if columns is not None or (format is None and not wide and metrics == "headline" and out is None and on_terminal()):
        text = fitting(records, None if columns is None else columns.split(","))
    else:
        text = leaderboard_text(records, format or "md", metrics)  # type: ignore[arg-type]  # what is unknown is refused there
    if out is None:
        typer.echo(text)
    else:
        write_text(out, text)
        typer.echo(f"wrote {out}")
    say_doubts(records)


def compare(
    a: Annotated[str, typer.Argument(help="A subject's name.")],
    b: Annotated[str, typer.Argument(help="Another one, or the same with --folder-b.")],
    folder: Annotated[Path, typer.Argument(help="A results folder.")] = Path("saebench-lite-results"),
    folder_b: Annotated[Path | None, typer.Option(help="Results folder of B, if it is another one.")] = None,
    metrics: Metrics = "headline",
    as_json: Annotated[bool, typer.Option("--json", help="Print rows as JSON instead of a table.")] = False,
) -> None:
    """Two subjects side by side: paired differences with intervals, p-values and counts of units won."""
    from saebench_lite.report import compare as comparing
    from saebench_lite.report.compare_text import to_terminal, to_text

    ours = records_of(folder)
    theirs = ours if folder_b is None else records_of(folder_b)
    rows, missing = comparing.compare(ours, theirs, a, b, metrics)
    if as_json:
        typer.echo(json.dumps({"rows": comparing.to_rows(rows), "not_compared": missing}, indent=1))
    else:
        shown = to_terminal if on_terminal() else to_text
        typer.echo(visible(shown(rows, missing, a, b)), nl=False)


def quiver(
    folder: Annotated[Path, typer.Argument(help="A results folder.")] = Path("saebench-lite-results"),
    format: Annotated[str, typer.Option("--format", help="md, json.")] = "md",
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of printing.")] = None,
) -> None:
    """What an SAE's probe adds to the baselines when the method is picked by validation; reads probing_regimes."""
    from saebench_lite.files import check_file, write_text
    from saebench_lite.report import quiver as quivering

    if out is not None:
        check_file("out", out)
    text = quivering.to_text(quivering.quivers(records_of(folder)), format)  # type: ignore[arg-type]  # an unknown format is refused there
    if out is None:
        typer.echo(visible(text))
    else:
        write_text(out, text)
        typer.echo(f"wrote {out}")
