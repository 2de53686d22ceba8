"""The regression gate: `check`, and `baseline save` for what it compares with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saebench_lite.cli.report import Metrics
from saebench_lite.cli.terminal import counted
from saebench_lite.errors import SaebenchError


def check(
    against: Annotated[
        list[Path], typer.Option(help="Results folders of earlier runs; several of retrained SAEs show that noise.")
    ],
    new: Annotated[Path | None, typer.Argument(help="Results folder under test.")] = None,
    metrics: Metrics = "headline",
    allow: Annotated[
        list[str] | None,
        typer.Option(help="A loss up to this much passes, in a metric's unit: 0.01, ce_delta=0.02; repeat for more."),
    ] = None,
    min_effect: Annotated[
        float | None, typer.Option(help="Change that counts, in place of each metric's minimum reliable difference.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit status 3 where something is undecided.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Print all comparisons and remarks.")] = False,
    markdown: Annotated[Path | None, typer.Option(help="Write a summary here, as for GITHUB_STEP_SUMMARY.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.")] = None,
    bigger: Annotated[
        Path | None, typer.Option("--bigger-is-better", help="Write JSON of github-action-benchmark here.")
    ] = None,
    smaller: Annotated[
        Path | None, typer.Option("--smaller-is-better", help="The same for metrics whose small values are better.")
    ] = None,
) -> None:
    """Did an SAE get worse beyond noise? Exit status 0 no, 1 yes, 2 not comparable, 3 (--strict) undecided."""
    from saebench_lite.files import check_file, write_text
    from saebench_lite.report import margins, regression_ci, regression_text, results

    if new is None:
        raise SaebenchError(
            f"the folder under test is missing; --against takes all that follow it ({', '.join(map(str, against))}), so"
            " give that folder first: check NEW --against OLD"
        )
    files = {"markdown": markdown, "junit": junit, "bigger-is-better": bigger, "smaller-is-better": smaller}
    for field, path in files.items():
        if path is not None:
            check_file(field, path)
    result = results.check(new, *against, metrics=metrics, min_effect=min_effect, allow=margins.parsed(allow or []))
    texts = {
        "markdown": regression_text.to_markdown(result),
        "junit": regression_ci.to_junit(result),
        "bigger-is-better": regression_ci.to_benchmark(result, "bigger"),
        "smaller-is-better": regression_ci.to_benchmark(result, "smaller"),
    }
    for field, path in files.items():
        if path is not None:
            write_text(path, texts[field])
    typer.echo(regression_text.to_text(result, every), nl=False)
    raise typer.Exit(result.status(strict))


def save(
    folder: Annotated[Path, typer.Argument(help="A results folder.")],
    to: Annotated[Path, typer.Option(help="Folder of baselines; the copy is a folder in it.")],
    name: Annotated[str | None, typer.Option(help="Name of the copy; default: that of the results folder.")] = None,
) -> None:
    """Copy what `check` needs of a run's records, small enough to commit."""
    from saebench_lite.files import check_place
    from saebench_lite.report.saved_baseline import save_baseline

    name = folder.resolve().name if name is None else name
    if not name.strip() or Path(name).name != name or name in (".", ".."):
        raise SaebenchError(f"--name {name!r} is no name of a folder; give one without slashes")
    check_place("to", to)
    count, size = save_baseline(folder, to / name)
    typer.echo(f"{to / name}: {counted(count, 'record')}, {size / 1024:.0f} KiB")
