"""The command line. Parses, reports progress, prints; everything it does is a call of the library."""

from __future__ import annotations

import io
import sys

import typer

from saebench_lite.cli import audit, gate, report, run, show, verify
from saebench_lite.cli.terminal import Debug, guarded, repeated

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": 120},
    help="Benchmarks for sparse autoencoders: uncertainty, baselines and controls in every table.",
)
data_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Data sets that are not shipped.")
app.add_typer(data_app, name="data")
baseline_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Earlier results for `check`.")
app.add_typer(baseline_app, name="baseline")


@baseline_app.callback()
def baseline() -> None:
    """Earlier results for `check`."""


@app.callback()
def common(debug: Debug = False) -> None:
    """Options of every command."""


for command in (
    run.run,
    report.leaderboard,
    report.compare,
    gate.check,
    report.quiver,
    verify.verify,
    audit.audit,
    show.inspect,
    show.describe,
    show.show,
):
    app.command()(guarded(command))
app.command(name="list")(guarded(show.list_))
data_app.command()(guarded(show.pull))
baseline_app.command()(guarded(gate.save))


def main() -> None:
    """Entry point."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal or pipe that is not UTF-8
    app(repeated(sys.argv[1:], "check", "--against"))


if __name__ == "__main__":
    main()
