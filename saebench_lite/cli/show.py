"""Commands that show what there is: list, describe, inspect, show, data pull."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saebench_lite import registry
from saebench_lite.cli import shipped
from saebench_lite.cli.terminal import Bos, Device, LeaveOut, ModelDtype, Plugins, plug, records_of
from saebench_lite.errors import SaebenchError
from saebench_lite.names import AUTO_DEVICE
from saebench_lite.report.markup import visible

if TYPE_CHECKING:
    from saebench_lite.api.card import Card
    from saebench_lite.report.picked_latents import Picked


def list_(
    kind: Annotated[
        str, typer.Argument(help="tasks, baselines, loaders, sources, metrics, profiles, saes; all.")
    ] = "all",
    as_json: Annotated[bool, typer.Option("--json")] = False,
    plugin: Plugins = None,
) -> None:
    """What is registered or shipped, with one line each; a broken plugin is shown, not fatal."""
    plug(plugin)
    if kind == "metrics":
        rows = [
            {"task": task, "metric": m.name, "construct": m.construct or "undeclared"}
            | {"better": m.better, "standing": thing.card.standing(m.name), "meaning": m.meaning}
            for task, thing in registry.get_all("tasks").items()
            for m in thing.card.metrics
        ]
    elif kind in (*registry.KINDS, "all"):
        kinds: list[registry.Kind] = [k for k in registry.KINDS if kind in (k, "all")]
        rows = [
            {"kind": k.removesuffix("s"), "name": n, "description": _one_line(k, n)}
            for k in kinds
            for n in registry.names(k)
        ]
        rows += [row for k in shipped.KINDS if kind == "all" for row in shipped.rows(k)]
    elif kind in shipped.KINDS:
        rows = shipped.rows(kind)
    else:
        choices = ", ".join((*registry.KINDS, "metrics", *shipped.KINDS))
        raise SaebenchError(f"{kind!r} cannot be listed; choose {choices} or all")
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    from tabulate import tabulate

    typer.echo(tabulate(rows, headers="keys", tablefmt="plain"))


def inspect(
    sae: Annotated[
        str | None, typer.Argument(help="[loader:]path, or owner/repository/id[@revision]; none: --model alone.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Measure on this model, or look at it alone.")] = None,
    hook: Annotated[str | None, typer.Option(help="Where in the model; default: the SAE's own, or the middle.")] = None,
    texts: Annotated[int, typer.Option(min=1, help="Bundled texts to measure on.")] = 200,
    device: Device = AUTO_DEVICE,
    dtype: ModelDtype = "float32",
    bos: Bos = "auto",
    leave_out: LeaveOut = "sinks",
    as_json: Annotated[bool, typer.Option("--json")] = False,
    plugin: Plugins = None,
) -> None:
    """What an SAE file is and whether it does what it says, or a model's hooks, tokens and tasks.

    Exit status 1 if an SAE breaks the protocol.
    """
    plug(plugin)
    from saebench_lite.models.token_rule import TokenRule
    from saebench_lite.runs import inspect_model, inspect_sae
    from saebench_lite.runs.inspection import inspect

    rule = TokenRule(bos=bos, leave_out=leave_out)
    report = inspect(sae, model=model, hook=hook, texts=texts, device=device, dtype=dtype, rule=rule)
    of_sae = "verdict" in report
    text = inspect_sae.as_text(report) if of_sae else inspect_model.as_text(report)
    typer.echo(json.dumps(report, indent=1, default=str) if as_json else text)
    if of_sae and report["verdict"] != "ok":
        raise typer.Exit(1)


def describe(
    name: Annotated[str, typer.Argument(help="A task, baseline, loader, source, profile or SAE, or pico.")],
    plugin: Plugins = None,
) -> None:
    """What a task or baseline measures, its metrics, settings and sources; a profile's settings; what is shipped."""
    plug(plugin)
    kinds: list[registry.Kind] = [k for k in registry.KINDS if name in registry.names(k)]
    told = shipped.described(name)
    if not kinds and told is None:
        known = {*(n for kind in registry.KINDS for n in registry.names(kind)), *shipped.names()}
        close = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else "saebench-lite list shows what there is"
        raise SaebenchError(f"nothing is called {name!r}; {hint}")
    if told is not None:
        typer.echo(told)
    for kind in kinds:
        typer.echo(description(kind, name))


def show(
    subject: Annotated[str, typer.Argument(help="A subject's name.")],
    task: Annotated[str, typer.Argument(help="A task's name.")],
    folder: Annotated[Path, typer.Argument(help="A results folder.")] = Path("saebench-lite-results"),
    metric: Annotated[str | None, typer.Option(help="Default: the task's first headline metric.")] = None,
    site: Annotated[str | None, typer.Option(help="Part of the title of the one site to show; default: all.")] = None,
    texts: Annotated[int, typer.Option(min=0, help="Top texts of each latent; loads the model and the SAE.")] = 0,
    sae: Annotated[str | None, typer.Option(help="Spec of the SAE, for --texts; default: as in run.yaml.")] = None,
    data: Annotated[list[str] | None, typer.Option(help="source[:where], for --texts; default: run.yaml.")] = None,
    limit: Annotated[int | None, typer.Option(help="Datasets per source, for --texts; default: run.yaml.")] = None,
    device: Annotated[
        str | None, typer.Option(help="For --texts: cpu, cuda, cuda:1, ...; default: cuda or else cpu.")
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Label by label: the latent picked, its score, its control's and the baselines', on request its top texts."""
    from saebench_lite.report.picked_latents import picked_latents, to_text

    for option, value in {"sae": sae, "data": data or None, "limit": limit, "device": device}.items():
        if value is not None and not texts:
            raise SaebenchError(f"--{option} is for top texts; give --texts N too, or leave it out")
    plug(plugin)
    shown = picked_latents(records_of(folder), subject, task, metric, site)
    kind = shown.picked[0].record.subject.kind
    if texts and kind != "sae":
        raise SaebenchError(f"{subject} is a {kind} and has no file to encode texts with; leave --texts out")
    for i, picked in enumerate(shown.picked):
        typer.echo("\n" * bool(i) + visible(to_text(picked)))
        if texts:
            typer.echo(visible(_top_texts(picked, folder, texts, sae, data, limit, device or AUTO_DEVICE)))
    for sentence in shown.missing:
        typer.echo(visible(sentence), err=True)


def _top_texts(
    picked: Picked,
    folder: Path,
    n: int,
    sae: str | None,
    data: Sequence[str] | None,
    limit: int | None,
    device: str,
) -> str:
    """The top texts of each label's most frequent latent, a line each.

    Args:
        picked: the labels.
        folder: results folder, whose run.yaml names what is not given.
        n: texts a label.
        sae: spec of the SAE.
        data: specs of the data.
        limit: datasets per source at most.
        device: where the model and the SAE run.
    """
    from saebench_lite.report.picked_latents import pooling_of, text_line
    from saebench_lite.runs.top_texts import asked_for, top_texts

    latents = {label.name: label.latents[0] for label in picked.labels if label.latents}
    if not latents:
        raise SaebenchError(f"the record of {picked.record.subject.name} names no latent for {picked.metric}")
    asked = asked_for(picked.record, folder, sae, data, limit)
    pooling = pooling_of(picked.metric)
    got = top_texts(picked.record, latents, pooling, n, asked, device=device)
    lines = []
    for label, rows in got.items():
        lines += ["", f"{label}: latent {latents[label]}, {pooling}-pooled code, label, text"]
        lines += [text_line(row.code, row.positive, row.text) for row in rows]
    return "\n".join(lines)


def pull(source: Annotated[str, typer.Argument(help="sae-probes, or the models smollm2, minilm.")]) -> None:
    """Download a data set or a model, check its checksum, unpack it into the cache."""
    from saebench_lite.models.gguf import SMOLLM2, pull_smollm2
    from saebench_lite.models.minilm import MINILM, pull_minilm

    models = {SMOLLM2: pull_smollm2, MINILM: pull_minilm}
    if source in models:
        typer.echo(f"{source} is at {models[source]()}")
        return
    origin = registry.get("sources", source)
    if origin.pull is None:
        raise SaebenchError(f"source {source!r} has nothing to pull; it reads what is already there")
    typer.echo(f"{source} is at {origin.pull()}")


def _one_line(kind: registry.Kind, name: str) -> str:
    try:
        thing = registry.get(kind, name)
        return thing.card.description if kind == "tasks" else thing.description
    except SaebenchError as error:
        return f"broken: {error}"


def description(kind: registry.Kind, name: str) -> str:
    """What `describe` prints: documentation, and of a task its settings and metrics.

    kind: of what is registered. name: its name.
    """
    thing = registry.get(kind, name)
    package, version = registry.owner(kind, name)
    lines = [f"{kind.removesuffix('s')} {name} ({package}{'' if version == 'unknown' else f' {version}'})", ""]
    text = registry.documentation(kind, name)
    if kind != "tasks":
        return "\n".join([*lines, thing.description, "", text, ""])
    from saebench_lite.api.settings import notes_of

    card, notes = thing.card, notes_of(thing.config)
    lines += [text, "", f"version {card.version}; source: {card.source}"]
    lines += ["", "settings (defaults are the official protocol):"]
    for f in dataclasses.fields(thing.config):
        lines += [f"  {card.name}.{f.name} = {f.default!r}"] + [f"      {n}" for n in [notes.get(f.name)] if n]
    lines += ["", "metrics:", *_metric_lines(card)]
    return "\n".join(lines) + "\n"


def _metric_lines(card: Card) -> list[str]:
    """A line a metric, those first that a leaderboard shows; others that differ in the k of `_k5` alone share one."""
    alike: dict[str, list[tuple[str, str]]] = {}
    shown = [card.metric(name) for name in card.shown]
    for m in dict.fromkeys([*shown, *card.metrics]):
        line = "  {} (" + ", ".join(filter(None, (m.summary(), card.standing(m.name)))) + "): {}"
        k = match[1] if (match := re.search(r"_k(\d+)", m.name)) else ""
        without = (re.sub(rf"(?<!\d){k}(?!\d)", "*", text) if k else text for text in (m.name, m.meaning))
        alike.setdefault(line.format(*without), []).append((k, line.format(m.name, m.meaning)))
    return [
        of[0][1] if len(of) == 1 else f"{without}; *: {', '.join(k for k, _ in of)}" for without, of in alike.items()
    ]
