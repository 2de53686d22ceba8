"""How often the gate alarms: `python -m tests.experiments.gate_power [SITE ...]`, sites are `world` and `pico`.

At each site one small TopK recipe is trained with `SEEDS` training seeds, on a world with known features and on the
bundled model's activations of the bundled texts. Each SAE is scored once as it is and once with each fault. A check
takes one of them as the new SAE and others, without a fault and with other seeds, as baselines, drawn at random
`CHECKS` times. An alarm without a fault is false (the SAE is one more of its recipe); with a fault it is right. A site
runs in processes of its own, `--jobs` of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import pickle
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import torch
from tabulate import tabulate

from saebench_lite import registry
from saebench_lite.api.context import EvalContext
from saebench_lite.api.settings import make_config
from saebench_lite.api.subject import SAESubject
from saebench_lite.data.types import Corpus, Data
from saebench_lite.files import atomic_path, write_text
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.names import PICO_HOOK
from saebench_lite.recipes.loop import train_sae
from saebench_lite.recipes.recipe import SAERecipe
from saebench_lite.records.record import Record
from saebench_lite.records.types import SubjectInfo, TaskInfo
from saebench_lite.report.regression import check
from saebench_lite.runs.evaluate import plain, summarise
from saebench_lite.runs.setup import data_identity, load_data
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.stats.seeds import derive_seed, rng
from saebench_lite.version import __version__
from saebench_lite.worlds.concepts import build
from saebench_lite.worlds.model import HOOK, WorldModel
from tests.conftest import ROOT
from tests.experiments.gate_faults import FAULTS, FURTHER

SEEDS = 12
CHECKS = 100
BASELINES = (1, 2, 3, 5)
WORLD = "tiny"
CONCEPTS = 12
"""Of the world, evenly over all kinds."""
RECIPES = {
    "world": SAERecipe(architecture="topk", d_sae=64, l0=6, steps=800, batch=256),
    "pico": SAERecipe(architecture="topk", d_sae=256, l0=16, steps=300, batch=256),
}
SETTINGS: dict[str, dict[str, dict[str, object]]] = {
    "world": {"sparse_probing": {"ks": (1, 5)}, "reconstruction": {}},
    "pico": {
        "sparse_probing": {"ks": (1, 5)},
        "reconstruction": {"max_tokens": 8_000},
        "ce_delta": {"max_tokens": 4_000},
        "concept_detection": {},
        "absorption": {"max_words": 3_000},
    },
}
HONEST = "none (another training seed)"


class Scorer:
    """Records of SAEs at one site; what does not depend on the SAE is done once."""

    def __init__(self, site: str) -> None:
        self.ctx, self.rows = SITES[site]()
        self.data, self.site = data_identity(self.ctx.data), self.ctx.site()
        self.tasks = {name: registry.get("tasks", name) for name in SETTINGS[site]}
        self.configs = {name: make_config(task, SETTINGS[site][name]) for name, task in self.tasks.items()}
        self.seeds = {name: [1] if task.card.seeded else [] for name, task in self.tasks.items()}
        self.prepared = {n: t.prepare(self.ctx, self.configs[n], self.seeds[n]) for n, t in self.tasks.items()}

    def records(self, sae: AffineSAE) -> list[Record]:
        """A record a task."""
        who = SAESubject(name="mine", kind="sae", fingerprint=sae.fingerprint(), sae=sae)
        out = []
        for name, task in self.tasks.items():
            config, card = self.configs[name], task.card
            got = task.evaluate(who, self.ctx, self.prepared[name], config, self.seeds[name])
            scores, per_unit = summarise(got, card)
            about = TaskInfo(
                name=card.name,
                version=card.version,
                package="saebench-lite",
                package_version=__version__,
                headline=list(card.headline),
                beside=card.beside,
                metrics={m: card.metric(m) for m in scores},
            )
            record = Record(
                task=about,
                subject=SubjectInfo(name="mine", kind="sae", fingerprint=who.fingerprint, meta={"d_sae": sae.d_sae}),
                site=self.site,
                data=self.data,
                settings=plain(dataclasses.asdict(config)),
                seeds=self.seeds[name],
                status="ok",
                scores=scores,
                per_unit=per_unit,
            )
            out.append(record)
        self.ctx.release()
        return out


def _world() -> tuple[EvalContext, torch.Tensor]:
    """A context on the world and activations to train on."""
    model = WorldModel.load(WORLD)
    data = build(model, 4096)
    every = data.datasets[:: max(1, len(data.datasets) // CONCEPTS)][:CONCEPTS]
    data = Data(data.name, datasets=every, concepts=every, texts=data.texts, parents=data.parents)
    return EvalContext(model, HOOK, data), model.world.sample(50_000, "gate power")[0]


def _pico() -> tuple[EvalContext, torch.Tensor]:
    """A context on the bundled model, every fourth text, second topic and second concept; activations to train on."""
    bundled = load_data(["bundled"])
    (corpus,) = bundled.texts
    texts = (Corpus(corpus.name, corpus.texts[::4]),)
    data = Data("bundled, in part", datasets=bundled.datasets[::2], concepts=bundled.concepts[::2], texts=texts)
    ctx = EvalContext(LanguageModel.load("pico"), PICO_HOOK, data)
    rows = ctx.sample(len(corpus.texts))
    return ctx, rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]


SITES: dict[str, Callable[[], tuple[EvalContext, torch.Tensor]]] = {"world": _world, "pico": _pico}
Trained = dict[str, list[Record]]
"""One training seed: its records as it is and with each fault."""
SCORERS: dict[str, Scorer] = {}
"""Of the site of this process; its workers, which are forked, have it too."""


def site_results(site: str, jobs: int, kept: Path | None) -> list[Trained]:
    """All training seeds of a site, scored in `jobs` processes; those in `kept` are read, others are put there."""
    torch.set_num_threads(1)
    if kept is None or not all(place_of(kept, site, seed).exists() for seed in range(SEEDS)):
        SCORERS[site] = Scorer(site)
    print(site, f"ready after {time.process_time():.0f} s", file=sys.stderr, flush=True)
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        return list(pool.map(partial(trained, site, kept), range(SEEDS)))


def place_of(kept: Path, site: str, seed: int) -> Path:
    """Where the records of a training seed are kept."""
    return kept / f"{site}-{seed}.pickle"


def trained(site: str, kept: Path | None, seed: int) -> Trained:
    """One training seed, scored."""
    place = None if kept is None else place_of(kept, site, seed)
    if place is not None and place.exists():
        return pickle.loads(place.read_bytes())
    torch.set_num_threads(1)
    scorer, started = SCORERS[site], time.process_time()
    sae = honest(site, scorer.rows, seed)
    training = time.process_time() - started
    records = {name: scorer.records(each) for name, each in with_faults(sae, seed).items()}
    took = time.process_time() - started
    print(site, seed, f"{training:.0f} of {took:.0f} s", file=sys.stderr, flush=True)
    if place is not None:
        with atomic_path(place) as partial_file:
            partial_file.write_bytes(pickle.dumps(records))
    return records


def honest(site: str, rows: torch.Tensor, seed: int) -> AffineSAE:
    """The SAE of a training seed, trained on rows [n, d]."""
    sae = train_sae(rows, dataclasses.replace(RECIPES[site], seed=100 + seed))
    assert isinstance(sae, AffineSAE)
    return sae


def with_faults(sae: AffineSAE, seed: int) -> dict[str, AffineSAE]:
    """An SAE as it is (`HONEST`) and with each fault, drawn by the training seed."""
    draws = {name: torch.Generator().manual_seed(derive_seed(name, seed)) for name in FAULTS}
    return {HONEST: sae} | {name: plant(sae, draws[name]) for name, plant in FAULTS.items()}


class Alarms(NamedTuple):
    """What `CHECKS` checks of one fault said."""

    alarms: int
    "Checks with exit status 1."
    worse: Counter[str]
    "Headline metrics called worse."
    changed: Counter[str]
    "The metric that is named first for an SAE that is not of its recipe."

    def told(self, counter: Counter[str]) -> str:
        """`reconstruction explained_variance 14, ...` or a dash."""
        return ", ".join(f"{m} {k}" for m, k in counter.most_common()) or "–"


def alarms(saes: list[Trained], fault: str, baselines: int) -> Alarms:
    """Checks of `CHECKS` that call the new SAE worse or changed, and by which metrics.

    Args:
        saes: the training seeds.
        fault: what the new SAE has.
        baselines: how many it is held against.
    """
    draw, count = rng("gate power", fault, baselines), 0
    worse: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    for trial in range(CHECKS):
        new = trial % len(saes)
        others = draw.permutation([i for i in range(len(saes)) if i != new])[:baselines]
        found = check(saes[new][fault], *(saes[i][HONEST] for i in others))
        assert not found.problems, found.problems
        count += found.status() == 1
        worse.update({f"{f.task} {f.metric}" for f in found.regressions})
        changed.update(f"{r.moved[0].task} {r.moved[0].metric}" for r in found.changed)
    return Alarms(count, worse, changed)


def section(site: str, saes: list[Trained]) -> str:
    """The table of one site."""
    body = []
    for fault in (HONEST, *FAULTS):
        by_count = {n: alarms(saes, fault, n) for n in BASELINES}
        three = by_count[3]
        told = [three.told(three.worse), three.changed.total(), three.told(three.changed)]
        name = f"{fault} *" if fault in FURTHER else fault
        body.append([name, *(by_count[n].alarms for n in BASELINES), *told])
    heads = ["fault of the new SAE", *(f"{n} baseline{'s' if n > 1 else ''}" for n in BASELINES)]
    heads += ["worse, with 3", "changed, with 3", "named first"]
    recipe = RECIPES[site]
    name = f"world `{WORLD}`" if site == "world" else "bundled model"
    about = (
        f"{len(saes)} training seeds of {recipe.architecture}, {recipe.d_sae} latents, k = {recipe.l0},"
        f" {recipe.steps} steps of {recipe.batch} rows; settings {SETTINGS[site]}, evaluation seed 1."
    )
    return f"## {name}\n\n{about}\n\n{tabulate(body, heads, tablefmt='github', disable_numparse=True)}\n"


def page(sites: Mapping[str, list[Trained]]) -> str:
    """The Markdown report."""
    words = " ".join((__doc__ or "").split("\n\n")[1].split()).replace("`SEEDS`", str(SEEDS))
    words = words.replace("`CHECKS` times", f"{CHECKS} times")
    head = f"# What the gate catches\n\n`python -m tests.experiments.gate_power {' '.join(sites)}`: {words}"
    legend = (
        f"Cells: checks of {CHECKS} with exit status 1. With one baseline the noise of training is not known, and the"
        " gate says so. With several, a headline metric may be worse (prediction interval,"
        " saebench_lite/stats/retraining.py) and the SAE as a whole may have changed, that is, not be one more of its"
        " recipe (saebench_lite/report/recipe_test.py). The gate was chosen for the faults without *; those with *"
        " try it on others. Checks of one row share SAEs, so they are no independent trials."
    )
    return "\n".join([head, "", legend, "", *(section(site, saes) for site, saes in sites.items())]).rstrip() + "\n"


def main() -> None:
    """Writes results/gate/power.md if both sites were asked for, else prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sites", nargs="*", default=list(RECIPES))
    parser.add_argument("--jobs", type=int, default=1, help="processes of a site")
    parser.add_argument("--keep", type=Path, help="folder of finished training seeds, with which a run goes on")
    asked = parser.parse_args()
    names: list[str] = asked.sites
    with ProcessPoolExecutor(len(names), mp_context=get_context("spawn")) as pool:
        text = page(
            dict(zip(names, pool.map(partial(site_results, jobs=asked.jobs, kept=asked.keep), names), strict=True))
        )
    print(text)
    if set(names) == set(RECIPES):
        write_text(ROOT / "results" / "gate" / "power.md", text)


if __name__ == "__main__":
    main()
