"""Trains what knows more and less of a world's causes, scores it on tasks that intervene, writes which ones rank."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from saebench_lite import registry
from saebench_lite.audit import causes_page, panel
from saebench_lite.audit.causes import GROUPS, TRUTHS, Outcome, judged
from saebench_lite.audit.dose_bench import KINDS, evenly
from saebench_lite.audit.run import finite
from saebench_lite.files import write_text
from saebench_lite.progress import NoProgress, Progress
from saebench_lite.recipes.recipe import Architecture
from saebench_lite.records.record import Record
from saebench_lite.runs import runner
from saebench_lite.worlds import concepts
from saebench_lite.worlds import spec as specs
from saebench_lite.worlds.model import HOOK, WorldModel

TASKS = ("causal_effect", "disentanglement", "minimal_pairs", "ravel", "steering", "unlearning", "autointerp")
"Those that intervene, or ask what latents mean, in the order of the page; others that claim a causal effect follow."
TRUTH = "truth"
ARCHITECTURES: tuple[Architecture, ...] = ("topk", "batchtopk", "matryoshka", "relu")
SHARE = 16
"One of so many features is a cause, where the world's name does not say otherwise: those that fire most."
TEXTS = 8192
"Of the world."
CONCEPTS = 40
"Of features that the oracle knows, at most."
SETTINGS: Mapping[str, Mapping[str, object]] = {
    "causal_effect": {"blocks": 40, "concepts": CONCEPTS, "concept_texts": 24},
    "disentanglement": {"classes": 12, "pairs": 12},
    "steering": {"prompts": 64},
    "unlearning": {"retain_share": 0.1},
    TRUTH: {"samples": 4096, "ranked": 4096},
}
"""By task what differs from its defaults, so that there are as many units as the texts allow, and unlearning may edit:
latents of a dictionary as narrow as a world's fire on more than the 1 % of tokens that it allows elsewhere."""


def planted(world: str) -> str:
    """The world's name with causes: one feature of `SHARE` where it names no number itself."""
    spec = specs.parse(world)
    return world if spec.causes else f"{world},causes={max(1, spec.features // SHARE)}"


def within_reach(model: WorldModel) -> float:
    """The share of all firings that are of the features an oracle knows: its L0 over the world's."""
    fires = model.features(0) > 0
    return fires[:, model.by_frequency[: model.world.spec.features // 4]].sum().item() / fires.sum().item()


def names() -> list[str]:
    """`TASKS`, then other registered tasks with a metric that claims a causal effect."""
    listed = registry.get_all("tasks").items()
    others = [n for n, task in listed if any(m.construct == "causal_effect" for m in task.card.metrics)]
    return [*TASKS, *(n for n in others if n not in TASKS)]


def run(
    world: str,
    out: Path,
    *,
    steps: int,
    seeds: int,
    limit: int | None = None,
    device: str = "cpu",
    jobs: int = 1,
    plugins: Sequence[str] = (),
    progress: Progress | None = None,
) -> Outcome:
    """The outcome, written to causes.json and causes.md in `out`; SAEs and records that exist there are read.

    Args:
        world: its name; causes are planted where it names none.
        out: folder for SAEs, records, causes.json and causes.md.
        steps: of training of each SAE.
        seeds: of every evaluation that draws random numbers.
        limit: concepts at most.
        device: where SAEs are trained and scored.
        jobs: processes that train.
        plugins: importable modules whose tasks are judged too, where they claim a causal effect.
        progress: receives how far training and scoring have come.
    """
    progress = NoProgress() if progress is None else progress
    for module in plugins:
        registry.add_plugin(module)
    name = planted(world)
    model = WorldModel.load(name, device=device)
    free = panel.PanelSpec(
        world=name, steps=steps, architectures=ARCHITECTURES, sparsities=(within_reach(model),), snapshots=()
    )
    folders: dict[str, list[Path]] = {}
    kinds: tuple[tuple[str, panel.PanelSpec], ...] = (
        ("trained", free),
        ("soft-frozen", dataclasses.replace(free, frozen="soft_decoder")),
    )
    for group, spec in kinds:
        folders[group] = panel.build(spec, out / "saes", device=device, jobs=jobs, progress=progress)
    tasks = names()
    records = runner.run(
        {f.name: panel.load(f) for of in folders.values() for f in of},
        model=model,
        hook=HOOK,
        data=evenly(concepts.build(model, TEXTS, KINDS), limit or CONCEPTS),
        tasks=[*tasks, TRUTH],
        settings={n: SETTINGS[n] for n in (*tasks, TRUTH) if n in SETTINGS},
        baselines=("oracle", "matched_random"),
        control_of=[f.name for f in folders["trained"]],
        seeds=seeds,
        out=out,
        device=device,
        progress=progress,
    )
    command = f"saebench-lite audit --causes --world {world} --steps {steps} --seeds {seeds}"
    command += (f" --limit {limit}" if limit else "") + "".join(f" --plugin {module}" for module in plugins)
    trained = {f.name: group for group, of in folders.items() for f in of}
    return written(records, trained, name, command, out)


def written(records: Sequence[Record], trained: Mapping[str, str], world: str, command: str, out: Path) -> Outcome:
    """The outcome of records, written to `out`.

    Args:
        records: of all tasks.
        trained: groups of the SAEs by name; the oracle and random dictionaries are told by their kind.
        world: its name.
        command: what made them.
        out: folder.
    """
    groups = {**trained, **_controls(records)}
    judged_on = [r for r in records if r.task.name != TRUTH]
    scored = {r.task.name for r in judged_on if r.status == "ok"}
    outcome = Outcome(
        world=world,
        command=command,
        rows=judged(judged_on, groups),
        truth=_truth([r for r in records if r.task.name == TRUTH], groups),
        members={g: [n for n, of in groups.items() if of == g] for g in GROUPS},
        missing={r.task.name: r.reason or r.status for r in judged_on if r.task.name not in scored},
    )
    write_text(out / "causes.json", json.dumps(finite(dataclasses.asdict(outcome)), indent=1, allow_nan=False) + "\n")
    write_text(out / "causes.md", causes_page.markdown(outcome))
    return outcome


def _controls(records: Iterable[Record]) -> dict[str, str]:
    kinds: dict[str, str] = {"oracle": "oracle", "control": "untrained"}
    return {r.subject.name: kinds[r.subject.kind] for r in records if r.subject.kind in kinds}


def _truth(records: Sequence[Record], groups: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """The means of `TRUTHS` over the SAEs of each group."""
    out: dict[str, dict[str, float]] = {}
    for metric in TRUTHS:
        of = {g: [r.scores[metric].value for r in records if metric in r.scores and groups[r.subject.name] == g]
              for g in GROUPS}  # fmt: skip
        out[metric] = {g: sum(values) / len(values) for g, values in of.items() if values}
    return out
