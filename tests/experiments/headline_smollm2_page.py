"""The page about candidates for a headline on a language model's SAEs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tabulate import tabulate

from saebench_lite.errors import SaebenchError
from saebench_lite.report.numbers import MISSING, figure, interval_text
from saebench_lite.sources import bundled
from saebench_lite.stats.intervals import interval, too_alike
from saebench_lite.stats.rank_correlation import spearman
from tests.experiments import headline_controls

HOOK = "blocks.15.hook_resid_post"
NAME = re.compile(r"((?P<role>[a-z-]+)_)?(?P<architecture>[a-z]+)_\d+_l0_(?P<l0>\d+)(_seed_\d+)?")


class Row(NamedTuple):
    """One SAE with its matched random dictionary; one value a concept of each candidate."""

    name: str
    l0: float
    scores: dict[str, list[float]]
    random: dict[str, list[float]]

    @property
    def recipe(self) -> tuple[str, int]:
        """Architecture, and the L0 it was trained for."""
        return self._named("architecture"), int(self._named("l0"))

    @property
    def role(self) -> str:
        """The role of `headline_controls`, or empty for an SAE of the folder."""
        return self._named("role")

    def mean(self, candidate: str) -> float:
        """Over concepts."""
        return float(np.mean(self.scores[candidate]))

    def mean_random(self, candidate: str) -> float:
        """Of its matched random dictionary."""
        return float(np.mean(self.random[candidate]))

    def _named(self, part: str) -> str:
        parts = NAME.fullmatch(self.name)
        if parts is None:
            raise SaebenchError(f"SAE folder {self.name!r} is not called ARCHITECTURE_WIDTH_l0_L0; rename it")
        return parts[part] or ""


class Separation(NamedTuple):
    """One candidate on trained, soft-frozen and random dictionaries of one width and L0; differences over concepts."""

    trained: np.ndarray
    "The folder's SAEs minus the soft-frozen ones. [concepts]"
    soft_frozen: np.ndarray
    "The soft-frozen ones minus random dictionaries of their width and L0. [concepts]"


def separation(rows: Sequence[Row], candidate: str) -> Separation:
    """Differences of a candidate between groups of equal width and L0, each the mean of its SAEs."""

    def mean(tables: Sequence[dict[str, list[float]]]) -> np.ndarray:
        return np.mean([table[candidate] for table in tables], axis=0)

    soft = of_role(rows, headline_controls.ROLE)
    frozen = mean([r.scores for r in soft])
    return Separation(mean([r.scores for r in same_sparsity(rows)]) - frozen, frozen - mean([r.random for r in soft]))


def of_role(rows: Sequence[Row], role: str) -> list[Row]:
    """SAEs of the role of `headline_controls`; of an empty one, the folder's."""
    return [r for r in rows if r.role == role]


def same_sparsity(rows: Sequence[Row]) -> list[Row]:
    """The folder's SAEs that were trained for the controls' L0."""
    return [r for r in of_role(rows, "") if r.recipe[1] == headline_controls.ACTIVE]


def ends(d: np.ndarray) -> tuple[float | None, float | None]:
    """95 % interval of the mean of d [concepts], as in the tables; none where the concepts are few and too alike."""
    return (None, None) if too_alike(d) else interval(d, np.ones(len(d)), symmetric=True)


def above(d: np.ndarray) -> bool:
    """Whether the whole interval of a difference lies above 0."""
    low, _ = ends(d)
    return low is not None and low > 0


def page(rows: Sequence[Row]) -> str:
    """How candidates move with L0, training and seeds, and whether they put trained over soft-frozen over random."""
    concepts = len(bundled.load("", None).datasets)
    lines = [
        "# The headline of probing on SmolLM2-135M",
        "",
        "Made by `python -m tests.experiments.headline --smollm2 FOLDER`:"
        f" {len(of_role(rows, ''))} SAEs at `{HOOK}`, the {concepts} bundled concepts, one seed of the split."
        " Candidates as in [headline.md](headline.md). No truth is known here: this page tells what moves a score, not"
        " whether it is right.",
        "",
    ]
    return "\n".join([*lines, *_separations(rows), *_moves(of_role(rows, ""))])


def _separations(rows: Sequence[Row]) -> list[str]:
    """Trained, soft-frozen, untrained."""
    soft, trained = of_role(rows, headline_controls.ROLE), same_sparsity(rows)
    if not soft:
        return []
    differences = {c: separation(rows, c) for c in rows[0].scores}
    heads = ["candidate", "trained", "soft-frozen", "random", "trained - soft-frozen", "soft-frozen - random"]
    body = []
    for c, s in sorted(differences.items(), key=lambda item: -item[1].trained.mean()):
        best = max(r.mean(c) for r in soft)
        means = [_mean([r.mean(c) for r in trained]), ", ".join(figure(r.mean(c)) for r in soft)]
        means.append(_mean([r.mean_random(c) for r in soft]))
        over = f"{sum(r.mean(c) > best for r in trained)} of {len(trained)}"
        body.append([c, *means, *(interval_text(float(d.mean()), *ends(d)) for d in s), over])
    recipe = headline_controls
    return [
        "## Trained, soft-frozen, untrained",
        "",
        f"Dictionaries of {recipe.WIDTH} latents and an L0 of {recipe.ACTIVE}. Trained: the folder's {len(trained)}"
        f" SAEs of that L0. Soft-frozen: {len(soft)} BatchTopK trained here on {recipe.TOKENS:,} activations of texts"
        f" that the folder's SAEs were trained on too, {recipe.STEPS:,} steps of {recipe.BATCH:,} rows, each decoder"
        " row at a cosine of at least 0.8 with its random start. None of them saw the concepts' texts. Random:"
        " dictionaries matched to the soft-frozen ones. Means over concepts; differences with their 95 % interval over"
        f" concepts, each on its own ({len(differences)} candidates are asked, and the spread of training seeds is not"
        " in the intervals). What trained SAEs have over soft-frozen ones is due to free directions and to longer"
        " training on more text together.",
        "",
        _verdict(differences),
        "",
        tabulate(body, [*heads, "trained above soft-frozen"], tablefmt="github", disable_numparse=True),
        "",
    ]


def _verdict(differences: dict[str, Separation]) -> str:
    """Sentences on which candidates tell all three apart."""
    apart = [c for c, s in differences.items() if above(s.trained) and above(s.soft_frozen)]
    level = [c for c, s in differences.items() if not above(s.trained) and not above(-s.trained)]
    below = [c for c, s in differences.items() if above(-s.trained)]
    lower = [c for c, s in differences.items() if not above(s.soft_frozen)]
    told = [
        ("Trained over soft-frozen over random, both intervals above 0", apart),
        ("Trained and soft-frozen not told apart", level),
        ("Soft-frozen over trained", below),
        ("Soft-frozen not shown to be over random", lower),
    ]
    return " ".join(
        f"{what}: {len(which)} of {len(differences)} candidates"
        + (f" ({', '.join(f'`{c}`' for c in which)})." if which else ".")
        for what, which in told
    )


def _moves(rows: Sequence[Row]) -> list[str]:
    """One line a candidate: how it moves with L0, training and seeds."""
    of: dict[str, list[Row]] = {}
    for r in rows:
        of.setdefault(r.recipe[0], []).append(r)
    sweeps = {a: some for a, some in of.items() if len({r.recipe[1] for r in some}) > 1}
    repeated = max(
        ([r for r in rows if r.recipe == recipe] for recipe in dict.fromkeys(r.recipe for r in rows)), key=len
    )
    same_l0 = [next(r for r in some if r.recipe[1] == repeated[0].recipe[1]) for some in of.values()]
    heads = ["candidate", *(f"{a}: {_levels(some)}" for a, some in sweeps.items()), "rho with L0"]
    heads += ["seed sd", "architecture sd", "mean", "mean random", "above random"]
    body = []
    for c in rows[0].scores:
        gap = [r.mean(c) > r.mean_random(c) for r in rows]
        body.append(
            [
                c,
                *(_values(some, c) for some in sweeps.values()),
                ", ".join(f"{a} {_rho(some, c)}" for a, some in sweeps.items()),
                _sd([r.mean(c) for r in repeated]),
                _sd([r.mean(c) for r in same_l0]),
                _mean([r.mean(c) for r in rows]),
                _mean([r.mean_random(c) for r in rows]),
                f"{sum(gap)} of {len(gap)}",
            ]
        )
    architecture, l0 = repeated[0].recipe
    return [
        "## L0, training seeds, architectures",
        "",
        "Score at each L0 of an architecture that was trained at several, and its Spearman correlation with L0 there;"
        f" standard deviation over {len(repeated)} training seeds of {architecture} at L0 {l0}, and over"
        f" {len(same_l0)} architectures at that L0; how many SAEs are above a random dictionary of their width and L0.",
        "",
        tabulate(body, heads, tablefmt="github", disable_numparse=True),
        "",
    ]


def _by_l0(some: Sequence[Row]) -> list[list[Row]]:
    return [[r for r in some if r.recipe[1] == level] for level in sorted({r.recipe[1] for r in some})]


def _levels(some: Sequence[Row]) -> str:
    return ", ".join(str(group[0].recipe[1]) for group in _by_l0(some))


def _mean(values: Sequence[float]) -> str:
    return figure(float(np.mean(values)))


def _values(some: Sequence[Row], candidate: str) -> str:
    return ", ".join(_mean([r.mean(candidate) for r in group]) for group in _by_l0(some))


def _rho(some: Sequence[Row], candidate: str) -> str:
    value = spearman(np.array([r.mean(candidate) for r in some]), np.array([r.l0 for r in some]))
    return f"{value:.2f}" if np.isfinite(value) else MISSING


def _sd(values: Sequence[float]) -> str:
    return figure(float(np.std(values, ddof=1))) if len(values) > 1 else MISSING
