"""What each trainer finds and loses, for the page of `python -m tests.experiments.right_l0`.

Orthogonal world: 50 orthonormal features in 64 dimensions, independent, 5 active on average, sizes 1 to 2; SAEs of 50
latents at an L0 of 5, from three random starts (jumprelu with five times as many steps as the others). Recovered:
features with a cosine above .9 with a decoder row. Size multiple: what least squares on one latent would multiply its
codes by (metrics.pathologies), median over latents; above 1 codes are shrunken. An SAE with no latent to spare can end
with a feature missed and a latent wasted; top-AFA, whose norms then tell wrong numbers, loses most by it. So it also
stands beside TopK with 64 latents, and in the small world: 1,024 correlated features in 128 dimensions with noise,
256 latents, which cannot be near orthogonal, as top-AFA assumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from tabulate import tabulate
from torch import Tensor

from saebench_lite.metrics.pathologies import dense_sums, known_median, least_squares_multiple
from saebench_lite.recipes.loop import train_sae
from saebench_lite.recipes.recipe import Architecture, SAERecipe
from saebench_lite.saes.protocol import decoder_of, reconstruct
from saebench_lite.stats.student_t import t_quantile
from saebench_lite.worlds.spec import SMALL
from saebench_lite.worlds.world import World

FEATURES, WIDTH, ACTIVE = 50, 64, 5
SEEDS = (1, 2, 3)
ROWS, TEST_ROWS = 40_000, 8192
LATENTS = {"orthogonal": FEATURES, "spare": 64, "small": 256}
"Of the SAEs; spare is the orthogonal world again."
SMALL_L0S = (9, 64)
SMALL_ROWS = 100_000
PAIR: tuple[Architecture, ...] = ("topk", "top_afa")
BESIDE = {"small": "small", "spare": "orthogonal"}
"Worlds in which the pair is compared, and what the page calls them."
SLOW = 5
"Times as many steps for jumprelu, whose thresholds move slowly; what it finds still grows after 1,500."


class Job(NamedTuple):
    """One training."""

    world: str
    architecture: Architecture
    l0: int
    seed: int
    steps: int


class Found(NamedTuple):
    """What it gave on fresh rows."""

    job: Job
    l0: float
    unexplained: float
    recovered: float
    "Share of features; NaN in the small world."
    multiple: float
    follows: float
    "Correlation over rows of the number of active latents and of true features."


def orthogonal(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows [n, WIDTH], their true features [n, FEATURES] and the directions of those."""
    basis = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(99))).Q[:FEATURES]
    g = torch.Generator().manual_seed(seed)
    a = (torch.rand(n, FEATURES, generator=g) < ACTIVE / FEATURES) * (1 + torch.rand(n, FEATURES, generator=g))
    return a @ basis, a, basis


def jobs(steps: int, small_steps: int, small_l0s: Sequence[int] = SMALL_L0S) -> list[Job]:
    """Every trainer in the orthogonal world; TopK and top-AFA in the small one and with latents to spare."""
    of = [Job("small", a, l0, s, small_steps) for l0 in small_l0s for a in PAIR for s in SEEDS]
    of += [Job("spare", a, ACTIVE, s, steps) for a in PAIR for s in SEEDS]
    each = {a: SLOW * steps if a == "jumprelu" else steps for a in get_args(Architecture)}
    return of + [Job("orthogonal", a, ACTIVE, s, n) for a, n in each.items() for s in SEEDS]


@torch.no_grad()
def figures(job: Job, sae, x: Tensor, a: Tensor, basis: Tensor | None) -> Found:
    """The figures of an SAE on rows x [n, d] with true features a [n, N]."""
    f = sae.encode(x)
    hat, decoder = reconstruct(sae, x, f), decoder_of(sae)
    assert decoder is not None
    sums = dense_sums(f, x.norm(dim=1), x - hat, decoder)
    unexplained = ((x - hat).double().square().sum() / (x - x.mean(0)).double().square().sum()).item()
    active = (f > 0).sum(1).double()
    counts = torch.stack([active, (a > 0).sum(1).double()])
    follows = torch.corrcoef(counts)[0, 1].item() if active.std() > 0 else 0.0
    recovered = float("nan")
    if basis is not None:
        rows = torch.nn.functional.normalize(decoder, dim=1)
        recovered = ((basis @ rows.T).amax(1) > 0.9).double().mean().item()
    multiple = known_median(least_squares_multiple(sums, decoder))
    return Found(job, active.mean().item(), unexplained, recovered, multiple, follows)


def one(job: Job) -> Found:
    """Trains and measures one SAE, on one thread."""
    torch.set_num_threads(1)
    start = job.seed + 1000  # no seed of a world's
    if job.world != "small":
        x, _, basis = orthogonal(ROWS, 1)
        rate: dict[str, Any] = {"lr": 3e-3}
        test, a, _ = orthogonal(TEST_ROWS, 2)
    else:
        world, basis = World(SMALL), None
        x, _ = world.sample(SMALL_ROWS, "train")
        rate = {}
        test, a = world.sample(TEST_ROWS, "test")
    size: dict[str, Any] = {"d_sae": LATENTS[job.world], "l0": job.l0}
    made = SAERecipe(architecture=job.architecture, steps=job.steps, batch=256, seed=start, **size, **rate)
    return figures(job, train_sae(x, made), test, a, basis)


def run(todo: Sequence[Job], processes: int) -> list[Found]:
    """All trainings, in the order of the jobs."""
    if processes == 1:
        return [one(job) for job in todo]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return list(pool.map(one, todo))


def interval(values: Sequence[float], digits: int = 3) -> str:
    """Mean and 95 % interval of the mean over seeds (Student's t), as text."""
    mean = float(np.mean(values))
    if len(values) < 2 or np.isnan(mean):
        return f"{mean:.{digits}f}"
    half = t_quantile(0.975, len(values) - 1) * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return f"{mean:.{digits}f} [{mean - half:.{digits}f}, {mean + half:.{digits}f}]"


def section(found: Sequence[Found]) -> str:
    """The part of the page on trainers."""
    rows = []
    for name in get_args(Architecture):
        of = [f for f in found if f.job.world == "orthogonal" and f.job.architecture == name]
        if of:
            values = [[getattr(f, column) for f in of] for column in ("l0", "recovered", "unexplained", "multiple")]
            rows.append([name, *(interval(v) for v in values), interval([f.follows for f in of], 2)])
    heads = ["trainer", "L0", "recovered [95 %]", "unexplained", "size multiple", "r of L0 with true count"]
    first = tabulate(rows, heads, tablefmt="github", disable_numparse=True)
    rows = []
    for world, l0 in sorted({(f.job.world, f.job.l0) for f in found if f.job.world in BESIDE}):
        pair = {a: [f for f in found if f.job[:3] == (world, a, l0)] for a in PAIR}
        ratio = [b.unexplained / a.unexplained for a, b in zip(*pair.values(), strict=True)]
        cells = [interval([f.unexplained for f in pair[a]]) for a in PAIR]
        l0s = interval([f.l0 for f in pair["top_afa"]], 2)
        follows = interval([f.follows for f in pair["top_afa"]], 2)
        rows.append([BESIDE[world], f"{l0}", l0s, *cells, interval(ratio), follows])
    heads = ["world", "L0 of TopK", "of top-AFA", "unexplained, TopK", "top-AFA", "ratio", "r of L0 with true count"]
    second = tabulate(rows, heads, tablefmt="github", disable_numparse=True)
    words = "\n\n".join((__doc__ or "").split("\n\n")[1:]).strip()
    return f"## What each trainer finds\n\n{words}\n\n{first}\n\nTop-AFA beside TopK:\n\n{second}\n"
