"""Commands that read records and load neither models nor SAEs: leaderboard, compare, check, quiver."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from saebench_lite.cli.terminal import records_of


def leaderboard(
    folder: Annotated[Path, typer.Argument(help="A results folder.")] = Path("saebench-lite-results"),
    format: Annotated[str, typer.Option("--format", help="md, csv, json, latex, html.")] = "md",
    all_metrics: Annotated[bool, typer.Option("--all-metrics", help="Not only the headline ones.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of printing.")] = None,
) -> None:
    """Tables from the records of a folder: no model, no SAE, no GPU."""
    from saebench_lite.files import write_text
    from saebench_lite.report import leaderboard as tables

    metrics = "all" if all_metrics else "headline"
    text = tables.leaderboard(records_of(folder), format, metrics)  # type: ignore[arg-type]  # an unknown format is refused there
    if out is None:
        typer.echo(text)
    else:
        write_text(out, text)


def compare(
    a: Annotated[str, typer.Argument(help="A subject's name.")],
    b: Annotated[str, typer.Argument(help="Another one, or the same with --folder-b.")],
    folder: Annotated[Path, typer.Argument(help="A results folder.")] = Path("saebench-lite-results"),
    folder_b: Annotated[Path | None, typer.Option(help="Results folder of B, if it is another one.")] = None,
    all_metrics: Annotated[bool, typer.Option("--all-metrics", help="Not only the headline ones.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print rows as JSON instead of a table.")] = False,
) -> None:
    """Two subjects side by side: paired differences with intervals, p-values and counts of units won."""
    from saebench_lite.report import compare as comparing

    ours = records_of(folder)
    theirs = ours if folder_b is None else records_of(folder_b)
    rows, missing = comparing.compare(ours, theirs, a, b, "all" if all_metrics else "headline")
    if as_json:
        typer.echo(json.dumps({"rows": comparing.to_rows(rows), "not_compared": missing}, indent=1))
    else:
        typer.echo(comparing.to_text(rows, missing, a, b))


def check(
    new: Annotated[Path, typer.Argument(help="Results folder under test.")],
    against: Annotated[Path, typer.Option(help="Results folder of an earlier run.")],
    all_metrics: Annotated[bool, typer.Option("--all-metrics", help="Not only the headline ones.")] = False,
    min_effect: Annotated[
        float | None, typer.Option(help="Change that counts, in place of each metric's minimum reliable difference.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write a summary here.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.")] = None,
) -> None:
    """Did an SAE get worse beyond noise? Exit status 0 no, 1 yes, 2 if the folders cannot be compared."""
    from saebench_lite.files import write_text
    from saebench_lite.report import regression

    result = regression.check(records_of(new), records_of(against), "all" if all_metrics else "headline", min_effect)
    text = regression.to_markdown(result)
    for path, content in ((markdown, text), (junit, regression.to_junit(result))):
        if path is not None:
            write_text(path, content)
    typer.echo(text)
    raise typer.Exit(result.status)


def quiver(
    folder: Annotated[Path, typer.Argument(help="A results folder.")] = Path("saebench-lite-results"),
    format: Annotated[str, typer.Option("--format", help="md, json.")] = "md",
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of printing.")] = None,
) -> None:
    """What an SAE's probe adds to the baselines when the method is picked by validation; reads probing_regimes."""
    from saebench_lite.files import write_text
    from saebench_lite.report import quiver as quivering

    text = quivering.to_text(quivering.quivers(records_of(folder)), format)  # type: ignore[arg-type]  # an unknown format is refused there
    if out is None:
        typer.echo(text)
    else:
        write_text(out, text)
