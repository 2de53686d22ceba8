"""The generator against loops and known marginals; truth metrics against hand-worked cases and brute force."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from saebench_lite.api.context import EvalContext
from saebench_lite.audit.evaluate import thinned
from saebench_lite.errors import SaebenchError
from saebench_lite.runs.runner import run
from saebench_lite.runs.setup import load_data
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.tasks import truth as truth_task
from saebench_lite.worlds import concepts, spec, truth
from saebench_lite.worlds.forest import apply_rules, drawing_rates, plant
from saebench_lite.worlds.model import BLOCK, WorldModel
from saebench_lite.worlds.oracle import OracleSAE
from saebench_lite.worlds.world import World

FLAT = spec.WorldSpec(features=40, d=16, p_max=0.3, p_min=0.02, rank=0, bias_norm=0.0)


def test_free_features_fire_at_their_rates():
    world = World(FLAT)
    a = world.features(40_000, "t")
    zipf = np.arange(1, 41) ** -0.5
    want = (zipf - zipf[-1]) / (zipf[0] - zipf[-1]) * 0.28 + 0.02
    np.testing.assert_allclose((a > 0).float().mean(0).numpy(), want, atol=4 * np.sqrt(0.21 / 40_000))
    fired = a[:, 0][a[:, 0] > 0]
    assert fired.mean().item() == pytest.approx(5.0, abs=0.05)
    assert fired.std().item() == pytest.approx(world.sd[0].item(), rel=0.05)


def test_samples_depend_on_their_seed_alone():
    world = World(spec.TINY)
    x, a = world.sample(64, "block", 3)
    world.sample(10, "other")
    again, _ = World(spec.TINY).sample(64, "block", 3)
    torch.testing.assert_close(x, again, rtol=0, atol=0)
    assert not torch.equal(x, world.sample(64, "block", 4)[0])
    clean = a @ world.directions + world.bias
    assert (x - clean).std().item() == pytest.approx(spec.TINY.noise, rel=0.1)


def test_correlation_follows_the_factors():
    """Features that share a strong factor fire together more often than their rates say."""
    world = World(dataclasses.replace(FLAT, rank=1, correlation=3.0))
    fires = (world.features(20_000, "t") > 0).double()
    sign = world._factors[:, 0].sign()
    together = np.corrcoef(fires[:, :6].T.numpy())
    for i, j in itertools.combinations(range(6), 2):
        assert np.sign(together[i, j]) == (sign[i] * sign[j]).item()
        assert abs(together[i, j]) > 0.1


def test_forest_by_hand():
    """Two trees of three: children silent under silent parents, one of two siblings kept, magnitudes scaled."""
    s = spec.WorldSpec(features=7, d=4, roots=2, branching=2, depth=1, rank=0)
    forest = plant(s)
    assert forest.parent.tolist() == [-1, -1, 0, 0, 1, 1, -1]
    assert forest.depth.tolist() == [0, 0, 1, 1, 1, 1, -1]
    a = torch.tensor([[10.0, 0, 4, 0, 4, 4, 3], [5.0, 5, 4, 4, 0, 2, 0]])
    mean = torch.full((7,), 5.0)
    got = apply_rules(a.clone(), forest, mean, s, torch.Generator().manual_seed(0))
    assert got[0].tolist() == [10, 0, 8, 0, 0, 0, 3]
    assert got[1, :2].tolist() == [5, 5]
    assert sorted(got[1, 2:4].tolist()) == [0, 4]
    assert got[1, 4:].tolist() == [0, 2, 0]
    plain = dataclasses.replace(s, scale_children=False, exclusive=False)
    got = apply_rules(a.clone(), forest, mean, plain, torch.Generator().manual_seed(0))
    assert got[1].tolist() == a[1].tolist()
    rates = drawing_rates(torch.tensor([0.5, 0.4, 0.1, 0.2, 0.1, 0.1, 0.3]), forest, exclusive=True)
    want = [0.5, 0.4, 0.1 / 0.5 * (1 + 0.2 / 0.5), 0.2 / 0.5 * (1 + 0.1 / 0.5), 0.1 / 0.4 * 1.25, 0.1 / 0.4 * 1.25, 0.3]
    assert rates.tolist() == pytest.approx(want)


def test_exclusive_siblings_never_fire_together():
    s = spec.TINY
    a = World(s).features(5000, "t")
    for first, child, width in plant(s).levels:
        block = a[:, child : child + width * s.branching].view(5000, width, s.branching) > 0
        assert block.sum(-1).max() == 1
        assert not (block.any(-1) & ~(a[:, first : first + width] > 0)).any()


def test_spreading_lowers_the_largest_cosines():
    s = dataclasses.replace(FLAT, features=64)
    near, far = World(s).directions, World(dataclasses.replace(s, orthogonalise=200)).directions
    off = lambda v: (v @ v.T).fill_diagonal_(0).square().sum()  # noqa: E731
    assert off(far) < off(near)
    torch.testing.assert_close(far.norm(dim=1), torch.ones(64))


def test_names_and_secret_worlds():
    assert spec.parse("small-7").seed == 7
    assert spec.parse("secret-5") == spec.parse("secret-5") != spec.parse("secret-6")
    assert spec.parse("standard-16k").features == 16_384
    with pytest.raises(SaebenchError, match="no world is called 'huge'"):
        spec.parse("huge")
    with pytest.raises(SaebenchError, match="need 15 features"):
        spec.WorldSpec(features=10, d=4, roots=5, branching=2, depth=1)


def test_truth_by_hand():
    """The worked case: truth = axes, decoder rows (1,0,0), (.8,.6,0), (0,0,-1)."""
    directions = torch.eye(3)
    cos = truth.cosines(torch.tensor([[1.0, 0, 0], [0.8, 0.6, 0], [0, 0, -1]]), directions)
    assert truth.mcc(cos) == pytest.approx((1 + 0.6 + 1) / 3)
    assert truth.uniqueness(cos) == pytest.approx(2 / 3)
    a = torch.tensor([[1.0, 0, 0], [1, 0, 2], [0, 1, 0], [0, 0, 0]])
    f = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0]])
    halves = [truth.count(truth.firing(f[part]), truth.firing(a[part])) for part in (slice(2), slice(2, 4))]
    counts = truth.add(*halves)
    found = truth.of_latents(counts, cos)
    assert found.f1.tolist() == found.precision.tolist() == found.recall.tolist() == [1, 0, 0]
    assert truth.of_features(counts).tolist() == pytest.approx([1, 2 / 3, 2 / 3])  # latent 0 stands in for feature 2


def test_counts_are_those_of_a_loop(monkeypatch):
    """Sparse, dense and silent codes; all samples at once and one after another."""
    monkeypatch.setattr(truth, "LATENTS", 2)
    g = torch.Generator().manual_seed(0)
    a, f = (torch.randn(60, m, generator=g).relu() for m in (9, 5))
    f[:, 0], f[:, 1] = 0.0, -1.0
    fires, true = (f != 0).numpy(), (a > 0).numpy()
    got = truth.count(truth.firing(f), truth.firing(a))
    both = [[sum(fires[:, i] & true[:, j]) for j in range(9)] for i in range(5)]
    assert got.both.tolist() == both
    assert (got.latent.tolist(), got.feature.tolist()) == (fires.sum(0).tolist(), true.sum(0).tolist())
    want = [max(2 * both[i][j] / (sum(fires[:, i]) + sum(true[:, j])) for i in range(5)) for j in range(9)]
    assert truth.of_features(got).tolist() == pytest.approx(want)
    parts = truth.joined([truth.firing(part) for part in f.split(7)])
    assert torch.equal(parts.dense(), f != 0)
    assert torch.equal(truth.count(parts, truth.firing(a)).both, got.both)


def test_mcc_is_the_best_matching():
    g = torch.Generator().manual_seed(0)
    cos = torch.rand(4, 6, generator=g)
    best = max(np.mean([cos[i, j] for i, j in enumerate(p)]) for p in itertools.permutations(range(6), 4))
    assert truth.mcc(cos) == pytest.approx(best)
    directions = torch.randn(512, 64, generator=g)
    assert truth.mcc_null(256, directions) == pytest.approx(0.390, abs=0.01)  # published floor at this size


@pytest.fixture(scope="module")
def tiny():
    lm = WorldModel.load("tiny")
    return lm, concepts.build(lm, 4096)


def test_what_fires_together_is_counted_in_groups_of_any_size(tiny, monkeypatch):
    lm, data = tiny
    oracle, cfg = OracleSAE(lm, 24, 4), truth_task.Config(samples=4 * BLOCK * lm.tokens, ranked=BLOCK)
    prepared = truth_task.prepare(EvalContext(lm, "world", data), cfg, [0])
    whole = truth_task._counts(oracle, lm, prepared, 1 << 30)
    a = torch.cat([lm.features(block) for block in range(4)])
    assert whole.samples == len(a)
    assert torch.equal(whole.feature, (a > 0).sum(0).double())
    monkeypatch.setattr(truth_task, "TOGETHER", 1)
    for x, y in zip(truth_task._counts(oracle, lm, prepared, 1 << 14), whole, strict=True):
        assert torch.equal(torch.as_tensor(x), torch.as_tensor(y))


def test_a_text_is_its_tokens(tiny):
    lm, _ = tiny
    ids = lm.tokenize(["sample 300", "sample 2"], context=None, long_texts="cut_right")
    _, batch = next(iter(lm.batches(ids, max_tokens=100)))
    x = lm.collect(batch, ["world"])["world"][batch.real].view(2, lm.tokens, -1)
    block, row = divmod(300, BLOCK)
    torch.testing.assert_close(x[0], lm.activations(block)[row * lm.tokens : (row + 1) * lm.tokens])
    a = lm.features(0)[2 * lm.tokens : 3 * lm.tokens]
    clean = a @ lm.world.directions + lm.world.bias
    assert (x[1] - clean).abs().max() < 6 * spec.TINY.noise
    with pytest.raises(SaebenchError, match=r"only reads its own samples .*; add --data world:tiny$"):
        lm.tokenize(["hello"], context=None, long_texts="cut_right")


def test_labels_are_what_fired(tiny):
    lm, data = tiny
    fires = torch.cat([lm.features(b) > 0 for b in range(4096 // BLOCK)]).view(4096, lm.tokens, -1)
    reach = set(lm.by_frequency[:24].tolist())
    often = torch.cat([lm.features(b) > 0 for b in range(32)]).sum(0)
    assert set(often.topk(24).indices.tolist()) == reach or often[list(reach)].min() >= often.sort().values[-24]
    kinds = {d.name.split()[0] for d in data.datasets}
    assert {"single_in", "or_in", "single_out"} <= kinds
    for labelled in data.datasets:
        if labelled.name.startswith("single"):
            positive, negative = labelled.rows[labelled.positive], labelled.rows[~labelled.positive]
            last, ever = fires[:, -1], fires.any(1)
            match = [
                j
                for j in range(96)
                if last[positive, j].all() and not ever[negative, j].any() and last[:, j].sum() == len(positive)
            ]
            assert len(match) == 1
            assert (match[0] in reach) == labelled.name.startswith("single_in")
    parents = data.parents[0]
    root = int(parents.names[3].split()[1])
    np.testing.assert_array_equal(parents.member[3], fires[:, -1, root].numpy())


def test_more_concepts_contain_the_fewer(tiny):
    lm, data = tiny
    kinds = {
        name: dataclasses.replace(concepts.KINDS[name], count=count)
        for name, count in (("single_in", 24), ("or_in", 16))
    }
    more = {d.name: d for d in concepts.build(lm, 4096, kinds).datasets}
    few = [d for d in data.datasets if d.name.split()[0] in kinds]
    assert len(more) > len(few) > 0
    for d in few:
        np.testing.assert_array_equal(d.rows, more[d.name].rows)
        np.testing.assert_array_equal(d.positive, more[d.name].positive)


def test_oracle_knows_and_random_does_not(tiny, tmp_path):
    lm, data = tiny[0], thinned(tiny[1], 10)
    g = torch.Generator().manual_seed(1)
    guess = torch.randn(24, lm.width, generator=g)
    poor = AffineSAE(W_enc=guess.T, W_dec=guess, activation="topk", k=3)
    true = lm.world.directions[lm.by_frequency[:24]]
    good = AffineSAE(W_enc=true.T, W_dec=true, b_enc=torch.full((24,), -2.0), b_dec=lm.world.bias)
    settings = {"sparse_probing": {"ks": (1, 5)}, "truth": {"samples": 8192}}
    records = run(
        {"poor": poor, "good": good},
        model=lm,
        hook="world",
        data=data,
        control_of=["good"],
        seeds=1,
        out=tmp_path,
        settings=settings,
        cache=tmp_path,
    )
    score = {(r.subject.name, r.task.name, m): s.value for r in records for m, s in r.scores.items()}
    assert not [r.reason for r in records if r.status == "failed"]
    for task, metric in (
        ("truth", "feature_f1"),
        ("truth", "f1"),
        ("truth", "mcc_calibrated"),
        ("truth", "feature_ap"),
        ("truth", "feature_tuned_f1"),
        ("sparse_probing", "average_precision_max"),
        ("sparse_probing", "average_precision_mean"),
        ("concept_detection", "average_precision"),
    ):
        assert score["oracle", task, metric] > score["poor", task, metric] + 0.2, (task, metric)
    for metric in ("feature_ap", "feature_f1", "f1", "mcc_calibrated", "uniqueness"):
        assert score["oracle", "truth", metric] == pytest.approx(1.0, abs=1e-6)
    assert 0.99 < score["oracle", "truth", "feature_tuned_f1"] <= 1  # the threshold lies below what one half held
    permuted = "permuted_decoder of good"
    for task in ("sparse_probing", "concept_detection"):
        both = [r.scores for r in records if r.task.name == task and r.subject.name in ("good", permuted)]
        assert both[0] == both[1]
    for metric in ("feature_ap", "feature_tuned_f1", "feature_f1"):
        assert score[permuted, "truth", metric] == score["good", "truth", metric]
    for task, metric in (("truth", "f1"), ("reconstruction", "explained_variance"), ("ce_delta", "loss_recovered")):
        assert score[permuted, task, metric] < score["good", task, metric] - 0.2, metric


def test_oracle_looks_rows_up(tiny):
    lm, _ = tiny
    oracle = OracleSAE(lm, 24, 2)
    a = lm.features(1)[:, oracle.features]
    torch.testing.assert_close(oracle.encode(lm.activations(1)), a)
    assert oracle.encode(torch.randn(3, lm.width)).abs().sum() == 0


def test_worlds_by_name(tmp_path):
    data = load_data(["world:tiny"], 3)
    assert len(data.datasets) == len(data.concepts) == 3
    with pytest.raises(SaebenchError, match="needs a name"):
        load_data(["world"])
    with pytest.raises(SaebenchError, match="has no hook 'blocks"):
        EvalContext(WorldModel.load("tiny"), "blocks.0.hook_resid_post", data)
