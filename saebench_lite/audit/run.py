"""Builds the panel, runs every task on it, judges what came out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from saebench_lite.audit import figures, judge, page, panel
from saebench_lite.audit.evaluate import Evaluation, evaluate
from saebench_lite.files import write_text
from saebench_lite.progress import NoProgress, Progress
from saebench_lite.records.record import Record


def run(
    world: str,
    out: Path,
    *,
    steps: int = 1500,
    bf16: bool = False,
    seeds: int = 3,
    device: str = "cpu",
    jobs: int = 1,
    limit: int | None = None,
    cache: Path | None = None,
    plugins: Sequence[str] = (),
    progress: Progress | None = None,
) -> list[judge.Row]:
    """Every metric judged on a world; SAEs and records that exist are read, not made again.

    SaebenchError for an unknown world.

    Args:
        world: name of the world.
        out: folder for SAEs, records, audit.json, figures and audit.md.
        steps: of training of each SAE.
        bf16: whether training multiplies matrices in bfloat16 on a CPU too.
        seeds: of every evaluation that draws random numbers.
        device: where SAEs are trained and scored.
        jobs: processes that train and score.
        limit: concepts at most, evenly over all kinds.
        cache: folder of cached activations.
        plugins: importable modules whose default tasks are judged too.
        progress: receives how far training and scoring have come; sentences go to the logger "saebench_lite".
    """
    progress = NoProgress() if progress is None else progress
    spec = panel.PanelSpec(world=world, steps=steps, bf16=bf16)
    folders = panel.build(spec, out / "saes", device=device, jobs=jobs, progress=progress)
    todo = Evaluation(
        world=world,
        folders=tuple(folders),
        out=out,
        seeds=seeds,
        limit=limit,
        device=device,
        cache=cache,
        plugins=tuple(plugins),
    )
    records = evaluate(todo, jobs=jobs, progress=progress)
    command = f"saebench-lite audit --world {world} --steps {steps} --seeds {seeds}"
    command += (" --bf16" if bf16 else "") + (f" --limit {limit}" if limit else "")
    command += "".join(f" --plugin {name}" for name in plugins)
    return written(records, world, command, out)


def written(records: Sequence[Record], world: str, command: str, out: Path) -> list[judge.Row]:
    """Writes audit.json, audit.md and the figures of records into `out`; the judged metrics.

    Args:
        records: of the panel, its oracle and controls.
        world: its name.
        command: what made them.
        out: folder.
    """
    rows, of = judge.judged(records), judge.panel_of(records)
    leads = judge.headline_leads(rows, of)
    drawn = figures.draw(rows, of, out)
    stored = {
        "world": world,
        "command": command,
        "bar": judge.BAR,
        "levels": of.roles.levels,
        "truths": {n: {"l0": float(l0), **truths} for n, l0, truths in judge.by_sae(of)},
        "metrics": [asdict(r) for r in rows],
        "leads": [{"rival": r.rival, "composite": r.composite._asdict(), "mcc": r.mcc._asdict()} for r in leads],
    }
    write_text(out / "audit.json", json.dumps(finite(stored), indent=1, allow_nan=False) + "\n")
    write_text(out / "audit.md", page.markdown(rows, of, leads, world, command, drawn))
    return rows


def finite(x: object) -> object:
    """The same with None for NaN, and nine digits of every number."""
    if isinstance(x, float):
        return None if x != x else float(f"{x:.9g}")
    if isinstance(x, dict):
        return {key: finite(value) for key, value in x.items()}
    return [finite(value) for value in x] if isinstance(x, list | tuple) else x
