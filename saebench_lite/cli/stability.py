"""`stability`: SAEs of several training seeds against each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from saebench_lite.cli.terminal import Bos, Device, LeaveOut, ModelDtype, following, interruptible
from saebench_lite.names import AUTO_DEVICE
from saebench_lite.report.markup import visible


def stability(
    saes: Annotated[list[str], typer.Argument(help="[name=][loader:]path of each training seed; three or more.")],
    model: Annotated[str | None, typer.Option(help="Compare codes on this model too.")] = None,
    hook: Annotated[str | None, typer.Option(help="Where in the model; only pico and worlds have a default.")] = None,
    texts: Annotated[int, typer.Option(min=2, help="Bundled texts whose tokens are encoded.")] = 400,
    device: Device = AUTO_DEVICE,
    dtype: ModelDtype = "float32",
    bos: Bos = "auto",
    leave_out: LeaveOut = "sinks",
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no remarks; warnings stay.")] = False,
) -> None:
    """Which latents come back when an SAE is trained again? SAEs of one recipe and several training seeds, matched."""
    from saebench_lite.files import check_file, write_text
    from saebench_lite.models.token_rule import TokenRule
    from saebench_lite.runs.stability_report import stability_of, to_json, to_text

    if out is not None:
        check_file("out", out)
    rule = TokenRule(bos=bos, leave_out=leave_out)
    with interruptible(), following(quiet) as progress:
        found = stability_of(
            saes, model=model, hook=hook, texts=texts, device=device, dtype=dtype, rule=rule, progress=progress
        )
    written = json.dumps(to_json(found), indent=1)
    if out is not None:
        write_text(out, written + "\n")
    typer.echo(written if as_json else visible(to_text(found)), nl=as_json)
