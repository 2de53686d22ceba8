"""Times of the parts of a run: `pytest tests/benchmarks --benchmark-enable -n 0`; nothing is asserted."""

import pytest
import torch

from saebench_lite.activations.acts import Acts
from saebench_lite.activations.pooling import pooled_codes
from saebench_lite.api.probe_types import TrainingSet
from saebench_lite.metrics.classification import auroc
from saebench_lite.probes.best_latents import Samples, best_latent_scores
from saebench_lite.probes.latent_selection import class_differences
from saebench_lite.probes.shared_rows import fit_each
from saebench_lite.probes.sparse_ranking import fit_sparse_ranking
from saebench_lite.probes.validated import fit_logistic_validated
from saebench_lite.saes.affine import AffineSAE

G = torch.Generator().manual_seed(0)


def sae(activation: str, d: int = 128, m: int = 4096) -> AffineSAE:
    directions = torch.randn(m, d, generator=G) / d**0.5
    extra = (
        {"k": 32} if activation == "topk" else {"threshold": torch.full((m,), 1.0)} if activation == "jumprelu" else {}
    )
    return AffineSAE(W_enc=directions.T, W_dec=directions, activation=activation, **extra)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["matmul only", "relu", "jumprelu", "topk"])
def test_encode_and_pool(benchmark, how):
    """16,384 tokens, d 128, d_sae 4096; the bare matrix product is the floor."""
    x = torch.randn(16_384, 128, generator=G)
    if how == "matmul only":
        w = sae("relu").W_enc
        benchmark(lambda: [part @ w for part in x.split(1024)])
        return
    acts, code = Acts(x, torch.arange(0, 16_385, 32)), sae(how)
    benchmark(lambda: pooled_codes(code, acts, ("mean", "max")))


def test_auroc_of_all_latents(benchmark):
    positive, negative = torch.rand(4096, 130, generator=G), torch.rand(4096, 130, generator=G)
    benchmark(lambda: auroc(positive, negative))


@pytest.mark.parametrize("k", [1, 50])
def test_probes(benchmark, k):
    """72 logistic regressions with validated strength, 400 rows each."""
    x = torch.randn(72, 400, k, generator=G)
    y = (x[..., 0] + torch.randn(72, 400, generator=G)) > 0
    use = torch.arange(400).expand(72, -1) < 260
    benchmark(lambda: fit_logistic_validated(x, y, use))


@pytest.mark.parametrize(("n", "problems"), [(32, 360), (2047, 36)])
def test_probes_of_training_sets(benchmark, n, problems):
    """The logistic baseline on texts of one corpus, d 128: balanced few texts, and bootstrap samples of many."""
    x = torch.randn(2048, 128, generator=G)
    rows = torch.randint(2048, (problems, n), generator=G)
    y = x[rows, 0] + torch.randn(problems, n, generator=G) > 0
    sets = [TrainingSet(*each) for each in zip(rows, y, strict=True)]
    benchmark(lambda: fit_each.fit_sets(x, sets))


@pytest.mark.parametrize("m", [1024, 16_384])
def test_class_sums(benchmark, m):
    """What ranking and detectors read of one problem: 1,024 of 4,096 texts."""
    table, rows = torch.randn(4096, m, generator=G).relu(), torch.arange(0, 4096, 4)
    positive = torch.rand(1024, generator=G) < 0.3
    benchmark(lambda: class_differences(table, rows, positive, "standardised"))


@pytest.mark.parametrize("rare", [True, False])
def test_best_latents(benchmark, rare):
    """The best of 1,024 latents for each of 512 concepts, rare ones as in a world, or half of the samples each."""
    codes = torch.randn(4096, 1024, generator=G).relu() * (torch.rand(4096, 1024, generator=G) < 0.02)
    share = torch.rand(512, generator=G) * 0.02 + 0.002 if rare else torch.full((512,), 0.5)
    of = Samples(codes, torch.rand(4096, 512, generator=G) < share)
    benchmark(lambda: best_latent_scores(of, of))


def test_sparse_ranking(benchmark):
    """Absorption's ranking of 30 latents for 25 parents, 1,200 words."""
    x = torch.randn(25, 1500, 30, generator=G).relu()
    y = x[..., 0] + torch.randn(25, 1500, generator=G) > 1
    benchmark(lambda: fit_sparse_ranking(x, y, 1200))


def test_absorption(benchmark, pico, concepts):
    """One SAE on 400 words, the shared part excluded."""
    from saebench_lite.api.context import EvalContext
    from saebench_lite.tasks import absorption
    from tests.conftest import HOOK
    from tests.helpers.planted_world import subject

    ctx, cfg = EvalContext(pico, HOOK, concepts), absorption.Config(max_words=400, min_share=0.0)
    prepared = absorption.prepare(ctx, cfg, [42])
    benchmark(lambda: absorption.evaluate(subject(sae("topk", m=1024)), ctx, prepared, cfg, [42]))


def test_splice(benchmark, pico, concepts):
    """CE-loss delta of one SAE over 2,000 tokens, the shared part excluded."""
    from saebench_lite.api.context import EvalContext
    from saebench_lite.tasks import ce_delta
    from tests.conftest import HOOK
    from tests.helpers.planted_world import subject

    ctx, cfg = EvalContext(pico, HOOK, concepts), ce_delta.Config(max_tokens=2000)
    shared = ce_delta.prepare(ctx, cfg, [])
    benchmark(lambda: ce_delta.evaluate(subject(sae("topk", m=1024)), ctx, shared, cfg, []))


def test_whole_run(benchmark, pico, concepts):
    """Five tasks on three concepts at small sizes, one SAE, activations in memory, set-up included."""
    from saebench_lite.runs.runner import run
    from tests.conftest import HOOK

    code = sae("topk", m=1024)
    small = {"absorption": {"max_words": 400, "min_share": 0.0}, "ce_delta": {"max_tokens": 2000}}
    benchmark.pedantic(
        lambda: run({"one": code}, model=pico, hook=HOOK, data=concepts, baselines=[], seeds=1, settings=small),
        rounds=3,
    )
