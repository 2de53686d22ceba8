"""Is the oracle first and the random control last in every world?

`python -m tests.experiments.world_order [FRESH] [FIRST]`

The named small worlds and FRESH worlds (5 by default) drawn from the numbers FIRST, FIRST + 1, ...: number of features,
hierarchy or none, correlation, noise and the rest differ. In each, three SAEs are trained for 800 steps and every task
scores them beside the oracle, a random SAE of the same L0 and an SAE with its decoder permuted. What passed the audit
is asked for the order; metrics of the code alone must be bit for bit those of the SAE whose decoder was permuted, and
metrics of the reconstruction no better than the random control's.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from tabulate import tabulate

from saebench_lite.audit.scores import signed_score
from saebench_lite.data.types import Data
from saebench_lite.files import write_text
from saebench_lite.recipes.loop import train_sae
from saebench_lite.recipes.recipe import SAERecipe
from saebench_lite.records.record import Record
from saebench_lite.records.verdicts import shipped_verdicts
from saebench_lite.report.numbers import MISSING, figure
from saebench_lite.runs import runner
from saebench_lite.saes.protocol import SAE
from saebench_lite.stats.seeds import rng
from saebench_lite.worlds.concepts import build
from saebench_lite.worlds.model import HOOK, WorldModel
from saebench_lite.worlds.spec import NAMED, SMALL, WorldSpec, draw
from saebench_lite.worlds.world import World
from tests.conftest import ROOT

SMALL_WORLDS = ("tiny", "small")
ARCHITECTURES = ("topk", "batchtopk", "jumprelu")
STEPS, BATCH = 800, 512
TEXTS = 12_288
CONCEPTS = 20
"At most, evenly over all kinds."
SETTINGS = {"sparse_probing": {"ks": (1,)}, "truth": {"samples": 16_384}}
CODE_ONLY = {
    "reconstruction": {
        "l0",
        "l1",
        "dead_fraction",
        "alive_fraction",
        "frequent_fraction",
        "dense_fraction",
        "norm_detector_fraction",
    },
    "rival_scores": {
        "rare_ap",
        "rare_correlation",
        "rare_f1",
        "rare_f1_fires",
        "rare_f1_tuned",
        "selectivity",
        "ceiling_gap",
    },
    "absorption": {"f1_k1", "f1_family", "missed_family", "splits"},
    "truth": {"feature_ap", "feature_f1", "feature_f1_all", "feature_tuned_f1", "true_l0"},
    "ce_delta": {"ce_clean", "ce_zero", "ce_mean"},
}
"Metrics that never look at the decoder (all of sparse_probing and concept_detection beside these)."
ROWS_ONLY = {"mcc", "mcc_calibrated", "uniqueness", "nearest_decoder_cosine", "duplicate_fraction"}
"Metrics of the decoder's rows alone, whose order they do not see."


class Order(NamedTuple):
    """One metric in one world; higher is better."""

    metric: str
    oracle: float
    best: float
    worst: float
    random: float

    @property
    def oracle_first(self) -> bool:
        return self.oracle >= max(self.best, self.random) - 1e-9

    @property
    def random_last(self) -> bool:
        return self.random <= min(self.worst, self.oracle) + 1e-9


class Permuted(NamedTuple):
    """One metric of an SAE, with its decoder permuted, and of the random control; higher is better."""

    metric: str
    reads: str
    "code, rows or both"
    sae: float
    permuted: float
    random: float
    same: bool
    "Whether every value of every unit is that of the SAE, bit for bit."

    @property
    def as_expected(self) -> bool:
        return self.same if self.reads != "both" else self.permuted <= self.random + 1e-9


def fresh(number: int) -> WorldSpec:
    """A world drawn from a number; every other one has no hierarchy."""
    r = rng("world order", number)
    features = int(r.choice([256, 384, 512, 768]))
    base = dataclasses.replace(
        SMALL,
        features=features,
        d=features // int(r.integers(5, 9)),
        p_min=6e-3,
        roots=features // 32 if number % 2 else 0,
        depth=int(r.integers(1, 3)),
    )
    return draw(number, base)


def records_of(name: str, spec: WorldSpec) -> list[Record]:
    """Every task on three SAEs, the oracle and two controls."""
    model = WorldModel(World(spec), name)
    data = build(model, TEXTS)
    every = data.datasets[:: max(1, len(data.datasets) // CONCEPTS)][:CONCEPTS]
    data = Data(data.name, datasets=every, concepts=every, texts=data.texts, parents=data.parents)
    return runner.run(
        {name: sae for name, sae in _trained(model.world)},
        model=model,
        hook=HOOK,
        data=data,
        baselines=["oracle", "matched_random", "permuted_decoder"],
        seeds=1,
        settings=SETTINGS,
    )


def _trained(world: World) -> Iterator[tuple[str, SAE]]:
    l0 = max(2, round((world.features(4096, "true l0") > 0).sum(1).float().mean().item()))
    batches = [world.sample(BATCH, "world order", step)[0] for step in range(STEPS)]
    for architecture in ARCHITECTURES:
        recipe = SAERecipe(architecture=architecture, d_sae=world.spec.features // 4, l0=l0, steps=STEPS, seed=1)
        yield architecture, train_sae(batches, recipe)


def orders(records: Sequence[Record]) -> list[Order]:
    """The order on every metric of recovery that tables show and that does not miss its construct."""
    out = []
    for task, of in _by_task(records).items():
        first = next(iter(of.values()))
        for metric in (m for m in first.task.shown if m in first.scores):
            about = first.task.metrics[metric]
            asked = about.construct in (None, "recovery") and about.better != "neither"
            if asked and not shipped_verdicts().misses(task, first.task.version, metric):
                value = {n: signed_score(r, metric).value for n, r in of.items()}
                saes = [v for n, v in value.items() if of[n].subject.kind == "sae"]
                (random,) = (v for n, v in value.items() if n.startswith("matched_random"))
                out.append(Order(f"{task} {metric}", value["oracle"], max(saes), min(saes), random))
    return out


def permutations(records: Sequence[Record]) -> list[Permuted]:
    """What permuting a decoder does to every metric that has a direction or reads the code alone."""
    out = []
    for task, of in _by_task(records).items():
        (name,) = (n for n in of if n.startswith("permuted_decoder"))
        (random,) = (r for n, r in of.items() if n.startswith("matched_random"))
        permuted, sae = of[name], of[name.removeprefix("permuted_decoder of ")]
        for metric in sae.scores:
            code = task in ("sparse_probing", "concept_detection") or metric in CODE_ONLY.get(task, ())
            reads = "code" if code else "rows" if metric in ROWS_ONLY else "both"
            if sae.task.metrics[metric].better == "neither" and reads == "both":
                continue
            same = (sae.scores[metric], sae.per_unit[metric]) == (permuted.scores[metric], permuted.per_unit[metric])
            values = (_value(sae, metric), _value(permuted, metric), _value(random, metric))
            out.append(Permuted(f"{task} {metric}", reads, *values, same))
    return out


def _value(record: Record, metric: str) -> float:
    if record.task.metrics[metric].better == "neither":
        return record.scores[metric].value
    return signed_score(record, metric).value


def _by_task(records: Sequence[Record]) -> dict[str, dict[str, Record]]:
    out: dict[str, dict[str, Record]] = {}
    for r in records:
        if r.status == "ok":
            out.setdefault(r.task.name, {})[r.subject.name] = r
    return out


def about(spec: WorldSpec) -> str:
    """A world in one line."""
    trees = f"{spec.roots} trees of depth {spec.depth}" if spec.roots else "no hierarchy"
    exclusive = " with exclusive siblings" if spec.roots and spec.exclusive else ""
    return (
        f"{spec.features} features in {spec.d} dimensions, {trees}{exclusive}, correlation {spec.correlation:.2f} of"
        f" rank {spec.rank}, noise {spec.noise:.2f}, firing rates {spec.p_max:.2f} to {spec.p_min:.3f}"
    )


def page(
    worlds: dict[str, str], order: dict[str, list[Order]], moved: dict[str, list[Permuted]], footer: str, command: str
) -> str:
    """Both questions with every counterexample."""
    cells = [(w, o) for w, some in order.items() for o in some]
    lines = [
        "# Order in every world",
        "",
        f"`{command}`: {' '.join((__doc__ or '').split(chr(10) * 2)[2].split())}",
        "",
    ]
    lines += [f"- {name}: {text}" for name, text in worlds.items()]
    lines += ["", "## Oracle first, random control last", ""]
    lines += [
        "Metrics of recovery that tables show and the audit does not reject; lower-is-better ones are negated.",
        "",
    ]
    for what, holds in (("The oracle is first", "oracle_first"), ("The random control is last", "random_last")):
        no = [f"{o.metric} in {w}" for w, o in cells if not getattr(o, holds)]
        tail = f"; not: {', '.join(no)}" if no else ""
        lines += [f"{what} in {len(cells) - len(no)} of {len(cells)} cases{tail}.", ""]
    heads = ["world", "metric", "oracle", "best SAE", "worst SAE", "random control", "oracle first", "random last"]
    body = [[w, o.metric, *map(figure, o[1:]), _yes(o.oracle_first), _yes(o.random_last)] for w, o in cells]
    lines += [tabulate(body, heads, tablefmt="github", disable_numparse=True), "", "## Permuted decoder", ""]
    shuffled = [(w, p) for w, some in moved.items() for p in some]
    for reads, what in (
        ("code", "Metrics of the code alone are bit for bit those of the SAE"),
        ("rows", "Metrics of the decoder's rows alone, in whatever order, are those of the SAE"),
        ("both", "Metrics of code and decoder are no better than the random control's"),
    ):
        some = [(w, p) for w, p in shuffled if p.reads == reads]
        no = [f"{p.metric} in {w}" for w, p in some if not p.as_expected]
        tail = f"; not: {', '.join(no)}" if no else ""
        lines += [f"{what} in {len(some) - len(no)} of {len(some)} cases{tail}.", ""]
    heads = ["world", "metric", "SAE", "permuted", "random control", "no better than random"]
    body = [[w, p.metric, *map(_figure, p[2:5]), _yes(p.as_expected)] for w, p in shuffled if p.reads == "both"]
    lines += [tabulate(body, heads, tablefmt="github", disable_numparse=True), "", footer]
    return "\n".join(lines) + "\n"


def _figure(value: float) -> str:
    return figure(value) if value == value else MISSING


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def main() -> None:
    started = time.process_time()
    count, first = (int(a) for a in (*sys.argv[1:3], *("5", "101")[len(sys.argv) - 1 :]))
    specs = {name: NAMED[name] for name in SMALL_WORLDS}
    specs |= {f"fresh-{n}": fresh(n) for n in range(first, first + count)}
    order, moved = {}, {}
    for name, spec in specs.items():
        records = records_of(name, spec)
        order[name], moved[name] = orders(records), permutations(records)
        print(f"{name}: {about(spec)}; {time.process_time() - started:.0f} s", flush=True)
    footer = f"{time.process_time() - started:.0f} s of {torch.get_num_threads()} core."
    text = page(
        {n: about(s) for n, s in specs.items()},
        order,
        moved,
        footer,
        f"python -m tests.experiments.world_order {count} {first}",
    )
    write_text(ROOT / "results" / "audit" / "worlds.md", text)


if __name__ == "__main__":
    main()
