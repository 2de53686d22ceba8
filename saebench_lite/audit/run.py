"""Builds the panel, runs every task on it, grades what came out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from saebench_lite import runner
from saebench_lite.audit import grade, page, panel
from saebench_lite.record import write_text
from saebench_lite.worlds.model import HOOK, WorldModel

SETTINGS = {"sparse_probing": {"ks": (1, 5, 16)}}
"k as in sae-probes' and SAEBench's tables."
CONTROLS = ("oracle", "matched_random", "permuted_decoder", "best_latents")


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
    tick: Callable[[str, int, int], None] = lambda what, done, total: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> list[grade.Grade]:
    """An audit on the world called `world`; SAEs, records, grades.json and audit.md under `out`, all resumed.

    `steps` of training per SAE, `limit` concepts at most. SaebenchError for an unknown world.
    """
    spec = panel.PanelSpec(world=world, steps=steps)
    folders = panel.build(spec, out / "saes", device=device, jobs=jobs, tick=tick)
    lm = WorldModel.load(world, device=device)
    middle = [f.name for f in folders if "@" in f.name and f.name.endswith("@0")]
    records = runner.run(
        {f.name: panel.load(f) for f in folders},
        model=lm,
        hook=HOOK,
        data=runner.load_data([f"world:{world}"], limit),
        baselines=CONTROLS,
        control_of=[name.removesuffix("@0") for name in middle],
        seeds=seeds,
        out=out,
        settings=SETTINGS,
        cache=cache,
        tick=tick,
        say=say,
    )
    found = grade.grades(records)
    command = f"saebench-lite audit --world {world} --steps {steps} --seeds {seeds}"
    write_text(out / "grades.json", json.dumps(grade.as_rows(found), indent=1, allow_nan=False) + "\n")
    write_text(out / "audit.md", page.markdown(found, records, world, command + (f" --limit {limit}" if limit else "")))
    return found
