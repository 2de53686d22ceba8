"""Attacks a panel of SAEs by editing their weights and says which metrics the edits raise.

An edit that adds no knowledge of features must not pay. Every SAE is scored as it is and under each attack of
`attack_edits`, on the tasks and concepts of `attack_tasks`. No baseline is scored. Records stay in the folder, so that
an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from saebench_lite.api.context import EvalContext
from saebench_lite.audit import attack_page, panel
from saebench_lite.audit.attack_edits import ATTACKS, Attack
from saebench_lite.audit.attack_effects import MARK, Outcome, Refusal, effects
from saebench_lite.audit.attack_recovery import recovery
from saebench_lite.audit.attack_tasks import COMPARED, CONCEPTS, SETTINGS, names
from saebench_lite.audit.attack_tasks import TEXTS as WORLD_TEXTS
from saebench_lite.audit.attack_weights import Calibration
from saebench_lite.audit.dose_bench import evenly
from saebench_lite.bundled import sae_folders
from saebench_lite.errors import NotApplicable
from saebench_lite.files import write_text
from saebench_lite.models.token_rule import TokenRule
from saebench_lite.names import read_model_name
from saebench_lite.progress import Progress
from saebench_lite.recipes.recipe import Architecture
from saebench_lite.records.record import Record
from saebench_lite.runs import runner, setup
from saebench_lite.saes.protocol import SAE
from saebench_lite.worlds import concepts
from saebench_lite.worlds.model import WorldModel

ROWS = 4096
"Activations an attacker looks at."
TEXTS = 512
"Texts they are from."
SEED = 1
"Of what an attacker draws."
ARCHITECTURES: tuple[Architecture, ...] = ("relu", "topk", "batchtopk", "jumprelu")
"Those with latents that can be edited: one SAE of each is attacked."


def bundled() -> list[Path]:
    """Folders of the bundled SAEs of the middle L0, one an architecture."""
    folders = sae_folders()
    levels = sorted({int(f.name.rpartition("_")[2]) for f in folders})
    return [f for f in folders if f.name.endswith(f"_l0_{levels[len(levels) // 2]}")]


def one_each(
    world: str, folder: Path, steps: int, device: str = "cpu", jobs: int = 1, progress: Progress | None = None
) -> list[Path]:
    """Folders of a trained SAE of each of `ARCHITECTURES` at a world's sparsity; those of an audit's panel are read.

    Args:
        world: name of the world.
        folder: where SAEs are saved.
        steps: of training of each SAE.
        device: where they are trained.
        jobs: processes of one thread each (CPU only).
        progress: receives how many are trained.
    """
    spec = panel.PanelSpec(world=world, steps=steps, architectures=ARCHITECTURES, sparsities=(1.0,), snapshots=())
    return panel.build(spec, folder, device=device, jobs=jobs, progress=progress)


def run(
    model: str,
    folders: Sequence[Path],
    out: Path,
    *,
    seeds: int = 1,
    limit: int = CONCEPTS,
    device: str = "cpu",
    cache: Path | None = None,
    plugins: Sequence[str] = (),
    attacks: Sequence[Attack] = ATTACKS,
    command: str = "",
    progress: Progress | None = None,
) -> Outcome:
    """The outcome, written to attack.json and attack.md in `out`; records that exist there are read, not made again.

    Args:
        model: `world:NAME` or `pico`.
        folders: of the SAEs that are attacked, named by their folders.
        out: folder for records, attack.json and attack.md.
        seeds: of every evaluation that draws random numbers.
        limit: concepts at most, evenly spaced.
        device: where SAEs are scored.
        cache: folder of cached activations.
        plugins: importable modules whose default tasks are scored too.
        attacks: what is done to each SAE.
        command: what repeats the run, for the page.
        progress: receives how far the evaluation has come.
    """
    lm = setup.load_model(model, device, "float32", TokenRule())
    hook = read_model_name(model).default_hook
    assert hook is not None
    data = evenly(
        concepts.build(lm, WORLD_TEXTS) if isinstance(lm, WorldModel) else setup.load_data(["bundled"]), limit
    )
    saes = {f.name: panel.load(f) for f in folders}
    edited, refused = edit(saes, calibration(EvalContext(lm, hook, data)), attacks)
    subjects = {n: s for name, sae in saes.items() for n, s in {name: sae, **edited[name]}.items()}
    tasks = names(lm.planted, plugins)
    records = runner.run(
        subjects,
        model=lm,
        hook=hook,
        data=data,
        tasks=tasks,
        settings={n: SETTINGS[n] for n in tasks if n in SETTINGS},
        baselines=(),
        seeds=seeds,
        out=out,
        device=device,
        cache=cache,
        progress=progress or False,
    )
    recoveries = {n: recovery(s, lm) for n, s in subjects.items()} if isinstance(lm, WorldModel) else {}
    shown = [e for e in effects(records, recoveries) if e.shown or (e.task, e.metric) in COMPARED]
    outcome = Outcome(model=model, effects=shown, refused=refused, means=means(records, subjects))
    write_text(out / "attack.json", json.dumps(asdict(outcome), indent=1, allow_nan=False) + "\n")
    write_text(out / "attack.md", attack_page.markdown(outcome, attacks, list(saes), command))
    return outcome


def edit(
    saes: Mapping[str, SAE], known: Calibration, attacks: Sequence[Attack]
) -> tuple[dict[str, dict[str, SAE]], list[Refusal]]:
    """By SAE, the edited ones under their names, and which edits were refused.

    An attack that is done once is done to the first SAE that it applies to.
    """
    edited: dict[str, dict[str, SAE]] = {name: {} for name in saes}
    refused, done = [], set()
    for name, sae in saes.items():
        for attack in attacks:
            if attack.once and attack.name in done:
                continue
            try:
                edited[name][f"{name}{MARK}{attack.name}"] = attack(sae, known)
                done.add(attack.name)
            except NotApplicable as error:
                refused.append(Refusal(sae=name, attack=attack.name, reason=str(error)))
    return edited, refused


@torch.no_grad()
def calibration(ctx: EvalContext) -> Calibration:
    """At most `ROWS` activations of evenly spaced texts of all the data, with their tokens if the model reads words."""
    lm, data = ctx.lm, ctx.data
    corpora = {c.fingerprint: c for c in (*data.texts, *(d.corpus for d in (*data.datasets, *data.concepts)))}
    pool = [text for corpus in corpora.values() for text in corpus.texts]
    chosen = dict.fromkeys(pool[i] for i in np.linspace(0, len(pool) - 1, min(TEXTS, len(pool))).round().astype(int))
    ids = lm.tokenize(list(chosen), context=None, long_texts="cut_right")
    x, tokens = [], []
    for _, batch in lm.batches(ids, max_tokens=8192):
        x.append(lm.collect(batch, [ctx.hook])[ctx.hook][batch.real].float())
        tokens.append(batch.ids[batch.real])
    rows = torch.cat(x)
    even = torch.linspace(0, len(rows) - 1, min(ROWS, len(rows))).round().long().to(rows.device)
    return Calibration(rows[even], SEED, None if lm.planted else torch.cat(tokens)[even])


def means(records: Sequence[Record], subjects: Mapping[str, SAE]) -> dict[str, dict[str, tuple[float, float]]]:
    """By attack d_sae, L0 and explained variance before and after it, means over the SAEs it was done to."""
    values = {name: {"d_sae": float(sae.d_sae)} for name, sae in subjects.items()}
    for record in records:
        if record.status == "ok" and record.task.name == "reconstruction":
            scores = {m: record.scores[m].value for m in ("l0", "explained_variance") if m in record.scores}
            values[record.subject.name].update(scores)
    pairs: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name, after in values.items():
        stem, mark, attack = name.rpartition(MARK)
        for metric, value in after.items() if mark else ():
            pairs.setdefault(attack, {}).setdefault(metric, []).append((values[stem][metric], value))
    return {
        attack: {m: (float(np.mean([b for b, _ in p])), float(np.mean([a for _, a in p]))) for m, p in of.items()}
        for attack, of in pairs.items()
    }
