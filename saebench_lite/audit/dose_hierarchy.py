"""Planted absorption in worlds with few and with many children a root: recovered one to one, or named as splitting.

A latent that absorbs a root on one of four children is by absorption's definition (Chanin et al., arXiv:2409.14507) a
part into which the root is split, as it adds much to F1; one of forty is not. So what is planted must come back as the
absorption fraction where there are many children, and as main latents and a lower F1 of one latent where there are few.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from saebench_lite.audit.constructs import RHO, row_spearman
from saebench_lite.audit.dose_bench import SEED, bench_of
from saebench_lite.audit.dose_edits import DOSES, GRID
from saebench_lite.records.verdicts import Verdict
from saebench_lite.worlds import spec as specs
from saebench_lite.worlds.model import WorldModel
from saebench_lite.worlds.spec import WorldSpec
from saebench_lite.worlds.world import World

CHILDREN = (4, 40)
"Children of a root."
ROOTS = 8
GAP = 0.1
"Largest difference of absorption fraction and share silenced at which the fault counts as recovered one to one."
METRICS = ("absorption_fraction", "full_absorption", "splits", "f1_k1", "missed_family")


@dataclass(frozen=True, kw_only=True)
class Planting:
    """One dose of absorption in one world."""

    children: int
    "Of each root."
    dose: float
    "Share of the pairs of root and child that are absorbed."
    silenced: float
    "Share of a root's firings at which its latent is silent, mean over roots."
    figures: dict[str, float]
    "What the task says."


def with_children(base: WorldSpec, children: int) -> WorldSpec:
    """The world with as many children a root, in trees of depth 1."""
    roots = max(1, min(ROOTS, base.features // (2 * (children + 1))))
    return dataclasses.replace(base, roots=roots, branching=children, depth=1)


def tables(world: str, texts: int, children: Sequence[int] = CHILDREN) -> list[Planting]:
    """Absorption's figures by dose in worlds with these numbers of children.

    Args:
        world: name of the world whose other properties they have.
        texts: of each world that are read.
        children: of a root, one world each.
    """
    out = []
    for n in children:
        spec = with_children(specs.parse(world), n)
        model = WorldModel(World(spec), f"{world},branching={n}")
        bench = bench_of(model, texts=texts, limit=1, tasks=("absorption",), width=3 * spec.features // 4)
        roots = [i for i, feature in enumerate(bench.oracle.features.tolist()) if feature < spec.roots]
        fires = bench.planted.fires[:, roots]
        for dose in GRID:
            measured = bench.measure("absorbed", dose)
            codes = DOSES["absorbed"](bench.base, dose, SEED).codes[:, roots]
            figures = {m: _mean(measured.values["absorption", m][1]) for m in METRICS}
            silenced = (((codes == 0) & fires).sum(0) / fires.sum(0)).mean().item()
            out.append(Planting(children=n, dose=dose, silenced=silenced, figures=figures))
    return out


def _mean(values: np.ndarray) -> float:
    """Mean over roots of values turned so that higher is better, as the task prints it."""
    return abs(float(np.nanmean(values)))


def verdicts(rows: Sequence[Planting]) -> list[str]:
    """One sentence a world: is the fault recovered one to one, or named as splitting?"""
    sentences = []
    for n in dict.fromkeys(r.children for r in rows):
        plantings = [r for r in rows if r.children == n]
        planted = np.array([r.silenced for r in plantings])
        of = {m: np.array([r.figures[m] for r in plantings]) for m in METRICS}
        gap = float(np.abs(of["absorption_fraction"] - planted).max())
        rho = {m: float(row_spearman(v[None], planted)[0]) for m, v in of.items()}
        whole = gap <= GAP and rho["absorption_fraction"] >= RHO
        split = rho["splits"] >= RHO and -rho["f1_k1"] >= RHO
        verdict = "recovered one to one" if whole else "named as splitting" if split else "missed"
        sentences.append(
            f"- {n} children: {verdict}. absorption_fraction: largest difference from the share silenced {gap:.3f},"
            f" rank correlation {rho['absorption_fraction']:.2f}; splits {rho['splits']:.2f}; f1_k1 {rho['f1_k1']:.2f}."
        )
    return sentences


def verdict_of(rows: Sequence[Planting], metric: str) -> Verdict:
    """Whether a metric of hierarchy follows what is planted in the world where that is its claim.

    The absorbed shares must equal the share silenced, within `GAP`, where there are many children; the number of main
    latents must order the doses where there are few.
    """
    few = metric == "splits"
    plantings = [r for r in rows if r.children == (min if few else max)(CHILDREN)]
    planted, figures = np.array([r.silenced for r in plantings]), np.array([r.figures[metric] for r in plantings])
    follows = float(row_spearman(figures[None], planted)[0]) >= RHO
    return "passes" if follows and (few or np.abs(figures - planted).max() <= GAP) else "misses"


def section(rows: Sequence[Planting]) -> str:
    """The part of the page."""
    body = [[r.children, f"{r.dose:g}", f"{r.silenced:.3f}", *(f"{r.figures[m]:.3f}" for m in METRICS)] for r in rows]
    heads = ["children a root", "pairs absorbed", "root firings silenced", *METRICS]
    told = f"Worlds with {ROOTS} roots at most, trees of depth 1, and three quarters of the features in the dictionary."
    table = tabulate(body, heads, tablefmt="github", disable_numparse=True)
    return "\n".join(["## Planted absorption", "", told, "", table, "", *verdicts(rows)])
