"""Have c_dec and s_n^dec their minimum at the true L0? `python -m tests.experiments.right_l0 [--jobs N]`

BatchTopK SAEs of 50 latents learn a world of 50 correlated features, of which 11 fire on average ("Sparse but Wrong",
arXiv:2508.16560, section 4), each from a random start. Below the true L0 latents take up features that fire together;
explained variance rises with L0 whatever the dictionary is worth. Recovered: mean over features of the largest |cosine|
of a decoder row. Verdicts are those of `saebench-lite advise-l0`, with latents and rows drawn anew and the spread of
training seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import ndtri
from tabulate import tabulate
from torch import Tensor

from saebench_lite.files import write_text
from saebench_lite.metrics.feature_mixing import absolute_cosines, nth_projection
from saebench_lite.metrics.latents import unit_rows
from saebench_lite.recipes.loop import held_out_figures, train_sae
from saebench_lite.recipes.recipe import SAERecipe
from saebench_lite.recipes.trainer import TrainedSAE
from saebench_lite.report.l0_advice import DRAWS, Curve, curve_of, joint, sentence
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.stats.intervals import resample_counts
from tests.experiments import recovery
from tests.experiments.rank_populations import ROOT

D, FEATURES = 100, 50


class CorrelatedWorld:
    """The 50-feature world of "Sparse but Wrong" (arXiv:2508.16560, section 4 and its code), drawn anew.

    x = sum_i a_i relu(1 + .15 e_i) f_i with orthonormal f_i [50, 100] and e_i standard normal. Feature i fires with
    probability .345 (49 - i) / 50 + .05, features together by a Gaussian copula whose correlations are random: 30 % of
    pairs 0, the others of size .3 to .9 and either sign, made positive semi-definite by raising eigenvalues to 1e-6 and
    scaling the diagonal back to 1. On average 11 features fire (`true_l0`).
    """

    def __init__(self, seed: int = 42) -> None:
        rng = np.random.default_rng(seed)
        above = np.triu_indices(FEATURES, 1)
        strength = rng.uniform(0.3, 0.9, len(above[0])) * rng.choice([-1.0, 1.0], len(above[0]))
        strength[rng.random(len(strength)) < 0.3] = 0.0
        raw = np.eye(FEATURES)
        raw[above] = strength
        raw = np.triu(raw) + np.triu(raw, 1).T
        size, axes = np.linalg.eigh(raw)
        root = axes * np.sqrt(np.maximum(size, 1e-6))
        root /= np.linalg.norm(root, axis=1, keepdims=True)
        rates = 0.345 * (FEATURES - 1 - np.arange(FEATURES)) / FEATURES + 0.05
        self.true_l0 = float(rates.sum())
        self.threshold = torch.from_numpy(ndtri(1 - rates)).float()
        self.root = torch.from_numpy(root).float()
        self.directions = torch.linalg.qr(torch.randn(D, FEATURES, generator=torch.Generator().manual_seed(seed))).Q.T

    def sample(self, n: int, seed: int) -> Tensor:
        """Activations [n, D]."""
        g = torch.Generator().manual_seed(seed)
        fires = torch.randn(n, FEATURES, generator=g) @ self.root.T > self.threshold
        size = (1 + 0.15 * torch.randn(n, FEATURES, generator=g)).relu()
        return (fires * size) @ self.directions


L0S = (5, 8, 10, 11, 12, 15, 20)
SEEDS = (1, 2, 3)
STEPS, BATCH, ROWS, LR = 5000, 512, 200_000, 1e-3
TEST_ROWS, BLOCKS = 32_768, 32
TRAINER_STEPS, SMALL_STEPS = 1500, 1000
"Of the trainers in the orthogonal and in the small world."
NTH = (12, 18)
"n of s_n^dec, as in the paper."
STATISTICS = ("c_dec", *(f"s_{n}_dec" for n in NTH))


class Measured(NamedTuple):
    """What one SAE shows."""

    l0: float
    explained_variance: float
    recovered: float
    "Mean over features of the largest |cos| of a decoder row."
    units: dict[str, np.ndarray]
    "Statistic -> values of its units: pseudo-values of latents, blocks of rows."


def train(x: Tensor, l0: float, seed: int, steps: int = STEPS) -> TrainedSAE:
    """A BatchTopK SAE of as many latents as the world has features, trained on rows x [n, D] from a random start."""
    recipe = SAERecipe(
        architecture="batchtopk", d_sae=FEATURES, l0=l0, steps=steps, batch=BATCH, lr=LR, seed=seed + 1000
    )
    return train_sae(x, recipe)


@torch.no_grad()
def measure(world: CorrelatedWorld, sae: TrainedSAE) -> Measured:
    """The figures of an SAE on fresh rows."""
    x = world.sample(TEST_ROWS, 2)
    rows, bias = sae.decoder, sae.decode(torch.zeros(1, FEATURES))
    units = {"c_dec": absolute_cosines(rows, 64).numpy()}
    for n in NTH:
        parts = (x - bias).split(TEST_ROWS // BLOCKS)
        units[f"s_{n}_dec"] = np.array([nth_projection(part, rows, n, 64) for part in parts])
    figures = held_out_figures(sae, x)
    recovered = (unit_rows(rows).float() @ world.directions.T).abs().amax(0).mean().item()
    return Measured(figures["l0"], figures["explained_variance"], recovered, units)


def oracle(world: CorrelatedWorld) -> AffineSAE:
    """The SAE whose latents are the features; its threshold only leaves out rounding."""
    threshold = torch.full((FEATURES,), 1e-4)
    return AffineSAE(W_enc=world.directions.T, W_dec=world.directions, activation="jumprelu", threshold=threshold)


def curves(found: Sequence[Measured], level: Sequence[int]) -> list[Curve]:
    """Each statistic over L0, by the functions of `saebench-lite advise-l0`."""
    out = []
    for name in STATISTICS:
        x = np.array([m.units[name] for m in found])
        draws = resample_counts(x.shape[1], DRAWS) @ x.T / x.shape[1]
        out.append(curve_of(name, x.mean(1), draws, level))
    return out


def page(l0s: Sequence[float], found: Sequence[Measured], level: Sequence[int], truth: Measured, steps: int) -> str:
    """The page: a table over L0, what each statistic says, and the truth's own figures."""
    by_statistic = curves(found, level)
    verdicts = joint([c.sides for c in by_statistic])
    rows = []
    for i, l0 in enumerate(l0s):
        of = [m for m, k in zip(found, level, strict=True) if k == i]
        values = [f"{c.values[i]:.3f} [{c.low[i]:.3f}, {c.high[i]:.3f}]" for c in by_statistic]
        figures = [f"{np.mean([getattr(m, f) for m in of]):.3f}" for f in ("recovered", "explained_variance")]
        rows.append([f"{l0:g}", f"{np.mean([m.l0 for m in of]):.2f}", *values, *figures, verdicts[i]])
    heads = ["L0 aimed at", "measured", *(f"{s} [95 %]" for s in STATISTICS), "recovered", "explained variance"]
    table = tabulate(rows, [*heads, "verdict"], tablefmt="github", disable_numparse=True)
    words = "\n\n".join((__doc__ or "").split("\n\n")[1:]).strip()
    seeds = len(found) // len(l0s)
    about = (
        f"Printed by `python -m tests.experiments.right_l0`; {seeds} training seeds an L0, {steps:,} steps of {BATCH}"
        f" rows from {ROWS:,}, learning rate {LR:g}; figures on {TEST_ROWS:,} fresh rows."
    )
    own = ", ".join(f"{name} {truth.units[name].mean():.3f}" for name in STATISTICS)
    said = "\n".join(f"- {sentence(c, l0s)}." for c in by_statistic)
    tail = f"The true dictionary, with an L0 of {truth.l0:.2f}: {own}."
    return f"# Is an SAE's L0 the right one?\n\n{about}\n\n{words}\n\n{table}\n\n{said}\n\n{tail}\n"


def one(case: tuple[float, int]) -> Measured:
    """Trains and measures the SAE of an L0 and a seed, on one thread."""
    torch.set_num_threads(1)
    world = CorrelatedWorld()
    return measure(world, train(world.sample(ROWS, 1), *case))


def main() -> None:
    """Trains the family and the trainers' SAEs, writes the page and prints it."""
    parser = argparse.ArgumentParser(description="The right L0, and what each trainer finds.")
    parser.add_argument("--jobs", type=int, default=1, help="processes of one thread each")
    jobs = parser.parse_args().jobs
    cases, world = [(l0, seed) for l0 in L0S for seed in SEEDS], CorrelatedWorld()
    level = [i for i in range(len(L0S)) for _ in SEEDS]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(one, cases))
    text = page(L0S, found, level, measure(world, oracle(world)), STEPS)
    trainers = recovery.run(recovery.jobs(TRAINER_STEPS, SMALL_STEPS), jobs)
    text = f"{text}\n{recovery.section(trainers)}"
    write_text(ROOT / "results" / "architectures" / "right-l0.md", text)
    print(text)


if __name__ == "__main__":
    main()
