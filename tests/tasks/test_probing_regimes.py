"""Training sets of the regimes, and the task on a world whose features are known."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from saebench_lite.activations.acts import Acts
from saebench_lite.api.subject import ClassifierSubject, Subject
from saebench_lite.baselines import knn, logistic
from saebench_lite.data import regimes
from saebench_lite.data.splits import normal_split
from saebench_lite.data.types import Corpus
from saebench_lite.errors import SaebenchError
from saebench_lite.probes.k_sparse import KSparseProbes
from saebench_lite.probes.latent_selection import differences_of_sets
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.tasks import probing_regimes, sparse_probing
from tests.helpers.planted_world import random_sae, subject, values, world
from tests.reference.figures import ranking

TASK = probing_regimes.TASK
SMALL = probing_regimes.Config(
    ks=(16,), sizes=(2, 8, 64), shares=(0.05, 0.5, 0.95), flips=(0.0, 0.3), selection="normalised", max_train=128
)


@pytest.fixture(scope="module")
def drawn():
    """(labels, split, text lengths) of 700 rows."""
    positive = np.arange(700) % 2 == 0
    lengths = np.random.default_rng(0).integers(10, 90, 700) + 15 * positive
    return positive, normal_split(positive, 42, 400), lengths


def every_point(drawn, seed=42):
    positive, split, lengths = drawn
    return [
        *regimes.normal(split, positive),
        *regimes.scarcity(split, positive, (2, 4, 64, 400, 1024)),
        *regimes.imbalance(split, positive, (0.05, 0.1, 0.5, 0.95)),
        *regimes.noise(split, positive, (0.0, 0.1, 0.5), seed),
        *regimes.shift(split, positive, lengths),
    ]


def test_no_level_learns_from_a_test_row_and_all_are_judged_on_the_same_clean_rows(drawn):
    positive, split, _ = drawn
    for point in every_point(drawn):
        assert not set(point.train) & set(split.test)
        assert len(set(point.train)) == len(point.train) == len(point.labels)
        if point.regime in ("shift", "in_domain"):
            assert set(point.judged) <= set(split.test)
            assert positive[point.judged].mean() == 0.5
        else:
            assert np.array_equal(point.judged, split.test)
            assert abs(positive[point.judged].sum() - (~positive[point.judged]).sum()) <= 1


def test_sizes_are_nested_and_balanced_and_the_largest_is_everything(drawn):
    positive, split, _ = drawn
    points = regimes.scarcity(split, positive, (2, 4, 64, 400, 1024))
    assert [p.level for p in points] == [2, 4, 64, 400]  # there are no 1024 rows
    for small, large in itertools.pairwise(points):
        assert set(small.train) < set(large.train)
    for point in points:
        assert len(point.train) == point.level
        assert point.labels.mean() == 0.5
    assert np.array_equal(points[-1].train, split.train)


def test_imbalance_shares_are_exact_at_one_size(drawn):
    positive, split, _ = drawn
    shares = (0.05, 0.1, 0.25, 0.5, 0.9, 0.95)
    points = regimes.imbalance(split, positive, shares)
    assert {len(p.train) for p in points} == {200}  # 200 rows a class / 0.95, down to a multiple of 20
    assert [p.labels.mean() for p in points] == pytest.approx(shares, abs=1e-12)
    assert all(np.array_equal(p.labels, positive[p.train]) for p in points)


def test_flips_are_nested_exact_and_none_at_level_zero(drawn):
    positive, split, _ = drawn
    none, some, half = regimes.noise(split, positive, (0.0, 0.1, 0.5), 42)
    true = positive[split.train]
    assert np.array_equal(none.labels, true)
    assert (some.labels != true).sum() == 40
    assert (half.labels != true).sum() == 200
    assert set(np.flatnonzero(some.labels != true)) < set(np.flatnonzero(half.labels != true))
    other = regimes.noise(split, positive, (0.1,), 43)[0]
    assert not np.array_equal(some.labels, other.labels)


def test_shift_learns_from_short_texts_and_is_judged_on_long_ones(drawn):
    positive, split, lengths = drawn
    short, long = regimes.shift(split, positive, lengths)
    assert (short.regime, long.regime) == ("shift", "in_domain")
    assert np.array_equal(short.judged, long.judged)
    assert len(short.train) == len(long.train)
    for label in (True, False):
        median = np.median(lengths[split.train[positive[split.train] == label]])
        assert lengths[short.train[short.labels == label]].max() <= median
        assert lengths[long.train[long.labels == label]].min() > median
        assert lengths[short.judged[positive[short.judged] == label]].min() > median
    assert short.labels.mean() == long.labels.mean() == 0.5
    assert regimes.shift(split, positive, np.full(700, 5)) == []


def test_differences_match_a_loop_and_the_ranking_of_sparse_probing():
    g = torch.Generator().manual_seed(0)
    table = torch.randn(30, 7, generator=g).relu()
    sets = [(torch.randperm(30, generator=g)[:n], torch.arange(n) % 3 == 0) for n in (4, 11, 20)]
    for selection in ("raw", "normalised", "standardised"):
        got = differences_of_sets(table, sets, selection)
        for row, (texts, labels) in zip(got, sets, strict=True):
            torch.testing.assert_close(row, ranking(table[texts], labels, selection))


def test_picked_probes_match_one_fit_at_a_time_in_any_memory():
    from saebench_lite.probes.logistic import scores
    from saebench_lite.probes.validated import fit_logistic_validated

    ctx, _, holds = world(texts=200)
    sae, acts = random_sae(), ctx.acts(None)
    g = torch.Generator().manual_seed(1)
    rows = [torch.randperm(200, generator=g) for _ in range(4)]
    problems = [(r[:n], holds[r[:n], 0], r[150:]) for r, n in zip(rows, (40, 40, 60, 130), strict=True)]
    tables = {}
    for memory in (1 << 30, 4 * 200 * 11, 4 * 200 * 5):  # whole, the chosen latents only, batch by batch
        picker = KSparseProbes(sae, acts, "last", memory)
        chosen = picker.latents([(r, y) for r, y, _ in problems], 4, "raw")
        tables[memory] = chosen, picker.margins(problems, chosen)
    (chosen, margins), *others = tables.values()
    codes = sae.encode(acts.x[acts.offsets[1:] - 1])
    for again, in_blocks in others:
        assert torch.equal(chosen, again)
        for margin, other in zip(margins, in_blocks, strict=True):
            torch.testing.assert_close(margin, other, rtol=1e-5, atol=1e-6)
    for latents, margin, (r, y, judged) in zip(chosen, margins, problems, strict=True):
        fitted = fit_logistic_validated(codes[r][None][..., latents], y[None], torch.ones_like(y)[None])
        torch.testing.assert_close(margin, scores(fitted, codes[judged][:, latents])[0], rtol=1e-5, atol=1e-6)


def scored(who: Subject, ctx, cfg=SMALL, seeds=(42,)):
    return TASK.evaluate(who, ctx, TASK.prepare(ctx, cfg, seeds), cfg, seeds)


def test_oracle_is_high_and_random_is_lower_in_every_regime():
    ctx, oracle, _ = world()
    corpus = Corpus("planted", tuple(f"{'x' * (7 * i % 23)} {i}" for i in range(600)))
    ctx.data = replace(ctx.data, datasets=tuple(replace(d, corpus=corpus) for d in ctx.data.datasets))
    tensors = dict(random_sae().tensors)
    few = AffineSAE(W_enc=tensors["W_enc"][:, :3], W_dec=tensors["W_dec"][:3])  # all twelve would span the features
    best, chance = (values(TASK, subject(sae), ctx, SMALL) for sae in (oracle, few))
    for regime in ("normal", "imbalance"):
        assert best[f"auroc_{regime}_k16"] > 0.99
    for regime in ("normal", "scarcity", "imbalance", "noise", "shift"):
        assert best[f"auroc_{regime}_k16"] > chance[f"auroc_{regime}_k16"] + 0.02
    acts = ctx.acts(None)
    nothing = Acts(torch.zeros_like(acts.x), acts.offsets)
    ctx.acts = lambda corpus, tokens="all": nothing
    assert values(TASK, subject(random_sae()), ctx, SMALL)["auroc_normal_k16"] == 0.5


def test_no_noise_is_the_clean_result_and_so_is_every_row():
    ctx, _, _ = world()
    for who in (subject(random_sae()), subject(probe=logistic.BASELINE.probe)):
        cfg = probing_regimes.Config(ks=(16,), sizes=(128,), shares=(0.5,), flips=(0.0,), max_train=128)
        points = scored(who, ctx, cfg).diagnostics["points"]
        for dataset, seeds in points["normal"].items():
            for seed, ((_, clean),) in seeds.items():
                assert points["noise"][dataset][seed] == [[0.0, clean]]
                assert points["scarcity"][dataset][seed] == [[128.0, clean]]


def test_metrics_are_means_of_the_levels_and_validation_needs_more_than_two_rows():
    ctx, _, _ = world()
    scores = scored(subject(random_sae()), ctx)
    units, _, table, _ = scores.table("auroc_scarcity_k16")
    _, _, val, _ = scores.table("val_auroc_scarcity_k16")
    for i, unit in enumerate(units):
        levels = scores.diagnostics["points"]["scarcity"][unit]["42"]
        assert [level for level, _ in levels] == [2, 8, 64]
        assert levels[0][1]["k16"][1] is None
        assert table[i, 0] == pytest.approx(np.mean([by_k["k16"][0] for _, by_k in levels]), abs=1e-6)
        assert val[i, 0] == pytest.approx(np.mean([by_k["k16"][1] for _, by_k in levels[1:]]), abs=1e-6)


def test_all_subjects_see_the_same_rows_and_classifiers_run():
    ctx, _, _ = world()
    seen: dict[str, list] = {"a": [], "b": []}

    def spy(name):
        def classify(x, y, judged):
            seen[name].append((x.sum().item(), y.sum().item(), judged.sum().item()))
            return judged[:, 0]

        return classify

    for name in seen:
        scored(ClassifierSubject(name=name, kind="baseline", fingerprint=name, classify=spy(name)), ctx)
    assert seen["a"] == seen["b"] != []
    near = ClassifierSubject(name="knn", kind="baseline", fingerprint="knn", classify=knn.classify)
    assert values(TASK, near, ctx, SMALL)["auroc_normal_k16"] > 0.9
    assert values(sparse_probing.TASK, near, ctx)["auroc_k1_mean"] > 0.9


def test_config_refuses_what_makes_no_sense():
    for field, value in {"ks": (3,), "sizes": (3,), "shares": (1.0,), "flips": (0.6,), "pooling": "max"}.items():
        with pytest.raises(SaebenchError, match=f"probing_regimes.* setting {field} must"):
            probing_regimes.Config(**{field: value})
