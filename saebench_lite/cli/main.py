"""The command line. Parses, reports progress, prints; everything it does is a call of the library."""

from __future__ import annotations

import atexit
import gc
import io
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from saebench_lite.cli import (
    advise,
    audit,
    cache,
    fine_tune,
    gate,
    plot,
    records,
    report,
    run,
    show,
    stability,
    train,
    verify,
)
from saebench_lite.cli.help import grouped
from saebench_lite.cli.terminal import Debug, find_modules_here, guarded, repeated
from saebench_lite.version import __version__

app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": 120},
    help="Benchmarks for sparse autoencoders: uncertainty, baselines and controls in every table.",
)
data_app = typer.Typer(rich_markup_mode=None, help="Data sets that are not shipped.")
app.add_typer(data_app, name="data")
records_app = typer.Typer(rich_markup_mode=None, help="Records of a results folder.")
app.add_typer(records_app, name="records")
cache_app = typer.Typer(rich_markup_mode=None)
app.add_typer(cache_app, name="cache", help="Size of the cache of activations, models and data sets; clear it.")
baseline_app = typer.Typer(rich_markup_mode=None, help="Earlier results for `check`.")
app.add_typer(baseline_app, name="baseline")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"saebench-lite {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def common(
    ctx: typer.Context,
    debug: Debug = False,  # noqa: ARG001  (`guarded` reads it)
    version: Annotated[  # noqa: ARG001  (its callback acts)
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of every command."""
    find_modules_here()
    help_alone(ctx)


@data_app.callback(invoke_without_command=True)
@records_app.callback(invoke_without_command=True)
@baseline_app.callback(invoke_without_command=True)
def help_alone(ctx: typer.Context) -> None:
    """Without a command: help."""
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


@cache_app.callback(invoke_without_command=True)
def cache_alone(ctx: typer.Context) -> None:
    """Without a command: `show`."""
    if ctx.invoked_subcommand is None:
        guarded(cache.show)(ctx, debug=False)


app.command(cls=grouped(run.GROUPS), epilog=run.EXAMPLE)(guarded(run.run))
app.command(cls=grouped(train.GROUPS), epilog=train.EXAMPLE)(guarded(train.train))
app.command(name="fine-tune", epilog=fine_tune.EXAMPLE)(guarded(fine_tune.fine_tune))
for command in (
    report.leaderboard,
    report.compare,
    gate.check,
    report.quiver,
    plot.plot,
    verify.verify,
    audit.audit,
    advise.advise_l0,
    stability.stability,
    show.inspect,
    show.describe,
    show.show,
):
    app.command()(guarded(command))
app.command(name="list")(guarded(show.list_))
data_app.command()(guarded(show.pull))
records_app.command()(guarded(records.rm))
cache_app.command()(guarded(cache.show))
cache_app.command()(guarded(cache.clear))
baseline_app.command()(guarded(gate.save))


def understood(words: Sequence[str]) -> list[str]:
    """A command line with an option before each of its values, for the options that take several."""
    return repeated(repeated(words, "check", "--against"), "run", "--sae")


COLLECT_AFTER = 50_000
"""New objects after which cycles are looked for: far more than Python's 700, which goes over all that torch and
transformers make when they are imported again and again. So does the end of the process, unless that is frozen."""


def main() -> None:
    """Entry point."""
    gc.set_threshold(COLLECT_AFTER)
    atexit.register(gc.freeze)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal or pipe that is not UTF-8
    app(understood(sys.argv[1:]))


if __name__ == "__main__":
    main()
