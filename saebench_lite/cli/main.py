"""The command line. Parses, reports progress, prints; everything it does is a call of the library."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from saebench_lite.cli import audit, report, run, show, verify
from saebench_lite.errors import SaebenchError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Benchmarks for sparse autoencoders: uncertainty, baselines and controls in every table.",
)


data_app = typer.Typer(no_args_is_help=True, help="Data sets that are not shipped.")


app.add_typer(data_app, name="data")


@app.callback()
def common(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False) -> None:
    """Options of every command."""


for command in (
    run.run,
    report.leaderboard,
    report.compare,
    report.check,
    report.quiver,
    verify.verify,
    audit.audit,
):
    app.command()(command)


app.command(name="list")(show.list_)


app.command()(show.inspect)


app.command()(show.describe)


data_app.command()(show.pull)


def main() -> None:
    """Entry point: one sentence instead of a traceback for bad input, exit status 2."""
    try:
        app()
    except SaebenchError as error:
        if "--debug" in sys.argv:
            raise
        typer.echo(f"Error: {error}", err=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
