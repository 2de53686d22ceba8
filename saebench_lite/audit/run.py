"""Builds the panel, runs every task on it, grades what came out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from saebench_lite.audit import figures, grade, page, panel
from saebench_lite.audit.evaluate import Evaluation, evaluate
from saebench_lite.files import write_text
from saebench_lite.progress import NoProgress, Progress


def run(
    world: str,
    out: Path,
    *,
    steps: int = 1500,
    seeds: int = 3,
    device: str = "cpu",
    jobs: int = 1,
    limit: int | None = None,
    cache: Path | None = None,
    plugins: Sequence[str] = (),
    progress: Progress | None = None,
) -> list[grade.Grade]:
    """Grades of all metrics on a world, best first; SAEs and records that exist are read, not made again.

    SaebenchError for an unknown world.

    Args:
        world: name of the world.
        out: folder for SAEs, records, grades.json, figures and audit.md.
        steps: of training of each SAE.
        seeds: of every evaluation that draws random numbers.
        device: where SAEs are trained and scored.
        jobs: processes that train and score.
        limit: concepts at most.
        cache: folder of cached activations.
        plugins: importable modules whose default tasks are graded too.
        progress: receives how far training and scoring have come; sentences go to the logger "saebench_lite".
    """
    progress = NoProgress() if progress is None else progress
    spec = panel.PanelSpec(world=world, steps=steps)
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
    graded = grade.grades(records)
    drawn = figures.draw(graded, records, out)
    command = f"saebench-lite audit --world {world} --steps {steps} --seeds {seeds}"
    command += f" --limit {limit}" if limit else ""
    write_text(out / "grades.json", json.dumps(grade.as_rows(graded), indent=1, allow_nan=False) + "\n")
    write_text(out / "audit.md", page.markdown(graded, records, world, command, drawn))
    return graded
