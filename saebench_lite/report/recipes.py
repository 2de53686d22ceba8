"""Training recipes beside files: SAEs that differ in nothing but their training seed, taken together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

import numpy as np

from saebench_lite.files import digest
from saebench_lite.records.record import Record
from saebench_lite.report.ranking import MOST_SAES, Field, field
from saebench_lite.stats.intervals import FEW
from saebench_lite.stats.recipes import recipe_ranks
from saebench_lite.stats.reseed_noise import sample_sd

CURVE = "training_curve"
"Key of metadata: figures of the training, as `recipes.training_curve` writes them."
OUTCOMES = ("held_out", CURVE, "seconds", "seed", "panel", "sample_l0")
"Metadata that training results in or that name the run: they do not tell recipes apart."


class RecipeScore(NamedTuple):
    """One recipe on one metric."""

    name: str
    seeds: int
    "Training seeds, one SAE each."
    mean: float
    "Of the SAEs' scores."
    sd: float | None
    "Of the SAEs' scores over training seeds; None of a single one."
    rank: tuple[int, int] | None
    "(best, worst) among recipes, a 95 % interval; None below `FEW` units and above `MOST_SAES` recipes."


def training_facts(record: Record) -> dict[str, object]:
    """What an SAE's metadata tell of its training: those of its recipe over those of its own."""
    recipe = record.subject.meta.get("recipe")
    return {**record.subject.meta, **recipe} if isinstance(recipe, dict) else dict(record.subject.meta)


def training_seed(record: Record) -> int | None:
    """The seed that an SAE was trained with, as its metadata tell it."""
    seed = training_facts(record).get("seed")
    return seed if isinstance(seed, int) else None


def recipe_key(record: Record) -> str:
    """Equal for SAEs whose metadata agree on all but the training seed and what training resulted in."""
    meta = {k: v for k, v in record.subject.meta.items() if k not in OUTCOMES}
    if isinstance(recipe := meta.get("recipe"), dict):
        meta["recipe"] = {k: v for k, v in recipe.items() if k != "seed"}
    return digest(meta)


def recipes(records: Sequence[Record], metric: str) -> list[RecipeScore]:
    """Scores and ranks of recipes, best first, from comparable records, one a subject.

    Empty where no recipe has two seeds. SAEs that tell no training seed are left out; of two SAEs of one recipe and
    seed the first by name counts.
    """
    f = field(records, metric)
    groups: dict[str, dict[int, int]] = {}
    rows = [] if f is None else sorted(f.saes, key=lambda i: f.records[i].subject.name)
    for i in rows:
        seed = None if f is None else training_seed(f.records[i])
        if f is not None and seed is not None:
            groups.setdefault(recipe_key(f.records[i]), {}).setdefault(seed, i)
    members = [list(g.values()) for g in groups.values()]
    if f is None or not any(len(m) > 1 for m in members):
        return []
    return _scores(f, members, metric)


def _scores(f: Field, members: list[list[int]], metric: str) -> list[RecipeScore]:
    """One score a group of rows of the field."""
    ranked = 1 < len(members) <= MOST_SAES and f.x.shape[1] >= FEW
    low, high = recipe_ranks(f.x, f.w, members) if ranked else ([], [])
    order = sorted(range(len(members)), key=lambda k: -float(f.mean[members[k]].mean()))
    out = []
    for k in order:
        values = np.array([f.records[i].scores[metric].value for i in members[k]])
        name = common_name([f.records[i].subject.name for i in members[k]])
        rank = (int(low[k]), int(high[k])) if ranked else None
        out.append(RecipeScore(name, len(values), float(values.mean()), sample_sd(values), rank))
    return out


def common_name(names: Sequence[str]) -> str:
    """What the names of a recipe's SAEs begin with alike, without a number or `seed` at its end; or the first."""
    if len(names) == 1:
        return names[0]
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    common = "".join(letters[0] for letters in alike)
    if common in names:
        return common
    common = common.rstrip("0123456789_- ")
    return common.removesuffix("seed").rstrip("_- ") or names[0]
