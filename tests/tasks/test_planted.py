"""Tasks where the answer is known: oracle on top, random at the bottom, permuted decoder moves decoder metrics only."""

import itertools

import numpy as np
import pytest
import torch
from sklearn import metrics

from saebench_lite.activations.acts import Acts
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.metrics.classification import auroc, best_f1_threshold
from saebench_lite.metrics.resampling import accuracy_error, auroc_error, f1_error
from saebench_lite.probes.logistic import diff_in_means
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.protocol import reconstruct
from saebench_lite.saes.wrapped import WrappedSAE
from saebench_lite.tasks import (
    _concept_detection_fits,
    _sparse_probing_fits,
    concept_detection,
    reconstruction,
    sparse_probing,
)
from tests.helpers.planted_world import permuted, random_sae, subject, values, world
from tests.reference.figures import ranking

PROBING, DETECTION, RECONSTRUCTION = sparse_probing.TASK, concept_detection.TASK, reconstruction.TASK


@pytest.mark.parametrize(("task", "metric"), [(PROBING, "auroc_k1_mean"), (DETECTION, "auroc"), (DETECTION, "f1")])
def test_oracle_is_perfect_and_random_is_not(task, metric):
    ctx, oracle, _ = world()
    best, chance = values(task, subject(oracle), ctx), values(task, subject(random_sae()), ctx)
    assert best[metric] > 0.999
    assert chance[metric] < 0.95


@pytest.mark.parametrize("task", [PROBING, DETECTION])
def test_decoder_does_not_matter_to_encoder_tasks(task):
    ctx, oracle, _ = world()
    assert values(task, subject(oracle), ctx) == values(task, subject(permuted(oracle)), ctx)


@pytest.mark.parametrize("task", [PROBING, DETECTION])
def test_scale_and_order_of_latents_do_not_matter(task):
    ctx, oracle, _ = world()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    stretch = torch.linspace(0.1, 50, 12)
    tensors = dict(oracle.tensors)
    b_enc = torch.full((12,), -0.1)  # a silent latent stays silent whatever the last digits do
    oracle = AffineSAE(W_enc=tensors["W_enc"], W_dec=tensors["W_dec"], b_dec=tensors["b_dec"], b_enc=b_enc)
    moved = AffineSAE(
        W_enc=(tensors["W_enc"] * stretch)[:, order],
        W_dec=tensors["W_dec"][order],
        b_dec=tensors["b_dec"],
        b_enc=(b_enc * stretch)[order],
    )
    a, b = values(task, subject(random_sae()), ctx), values(task, subject(random_sae()), ctx)
    assert a == b
    plain, changed = values(task, subject(oracle), ctx), values(task, subject(moved), ctx)
    assert plain == pytest.approx(changed, abs=1e-6)


@pytest.mark.parametrize("task", [PROBING, DETECTION])
def test_blocks_of_latents_change_nothing(task):
    ctx, _, _ = world()
    who = subject(random_sae())
    whole = values(task, who, ctx)
    ctx.memory = 4 * 600 * 5  # five latents at a time, or two with two tables
    assert values(task, who, ctx) == pytest.approx(whole, abs=1e-6)


def test_baseline_row_uses_the_same_splits():
    ctx, _, _ = world()
    got = values(PROBING, subject(probe=diff_in_means), ctx)
    assert got["auroc_k1_mean"] == got["auroc_k50_mean"] > 0.99
    for fit_on in ("texts", "tokens"):
        cfg = concept_detection.Config(fit_on=fit_on)
        assert values(DETECTION, subject(probe=diff_in_means), ctx, cfg)["auroc"] > 0.99


def test_selection_sees_training_rows_only():
    """Latents that separate the test rows perfectly and the training rows not at all are never chosen."""
    table = torch.zeros(8, 2)
    positive = torch.tensor([1, 1, 0, 0, 1, 1, 0, 0], dtype=torch.bool)
    table[4:, 0] = torch.tensor([9.0, 9.0, 0.0, 0.0])
    table[:4, 1] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    problem = _sparse_probing_fits.Problem("d", 0, torch.arange(8), positive, 4)
    best = _sparse_probing_fits.merge_block(None, table, 0, problem, 1, "normalised")
    assert best.latent.tolist() == [1]


def test_ranking_by_hand():
    table = torch.tensor([[4.0, 1.0], [0.0, 1.0], [2.0, 0.0], [0.0, 0.0]])
    positive = torch.tensor([True, True, False, False])
    assert ranking(table, positive, "raw").tolist() == [1.0, 1.0]
    got = ranking(table, positive, "normalised")
    assert got.tolist() == pytest.approx([1 / 3, 1.0])


def test_figures_against_scikit_learn():
    g = torch.Generator().manual_seed(0)
    sizes = [50, 30, 50, 50]
    margins = [torch.randn(n, generator=g) for n in sizes]
    labels = [torch.arange(n)[torch.randperm(n, generator=g)] < n // 3 + (i == 2) for i, n in enumerate(sizes)]
    problems = [
        _sparse_probing_fits.Problem("d", i, torch.arange(n + 2), torch.cat([torch.tensor([True, False]), y]), 2)
        for i, (n, y) in enumerate(zip(sizes, labels, strict=True))
    ]
    together = _sparse_probing_fits.figures_on_test(margins, problems, "l2_validated")
    for margin, positive, problem, got in zip(margins, labels, problems, together, strict=True):
        assert got["auroc"][0] == pytest.approx(metrics.roc_auc_score(positive, margin))
        assert got["accuracy"][0] == pytest.approx(metrics.accuracy_score(positive, margin > 0))
        assert got["f1"][0] == pytest.approx(metrics.f1_score(positive, margin > 0))
        assert got["auroc"][1] == pytest.approx(auroc_error(margin[positive], margin[~positive]).item())
        assert got["accuracy"][1] == pytest.approx(accuracy_error(margin, positive).item())
        assert got["f1"][1] == pytest.approx(f1_error(margin, positive).item())
        (alone,) = _sparse_probing_fits.figures_on_test([margin], [problem], "l2_validated")
        assert [alone[kind][0] for kind in got] == [value for value, _ in got.values()]


def test_a_probe_that_reads_the_mean_under_the_maximum_is_fitted_once_for_both():
    ctx, _, _ = world()
    fits = []

    def probe(x, y, train_mask):
        fits.append(len(y))
        return diff_in_means(x, y, train_mask)

    who = subject(probe=probe)
    cfg = sparse_probing.Config()
    groups = PROBING.prepare(ctx, cfg, (0, 1))
    scores = PROBING.evaluate(who, ctx, groups, cfg, (0, 1))
    assert len(fits) == 2 * len(groups) * (len({"mean", "last"}) + len(cfg.poolings))
    of_max, of_mean, of_last = (scores.table(f"average_precision_{p}")[2] for p in ("max", "mean", "last"))
    assert np.array_equal(of_max, of_mean)
    assert not np.array_equal(of_last, of_mean)


def test_detection_best_latent_and_hard_negatives_by_hand():
    scores = concept_detection.TextScores(
        torch.tensor([3.0, 2.0, 1.0, 0.0]), torch.tensor([2.0, 0.5, 0.4, 3.0]), torch.tensor([0.0, 2.6])
    )
    problem = concept_detection.Problem(
        None,  # type: ignore[arg-type]
        0,
        torch.arange(4),
        torch.tensor([True, True, False, False]),
        torch.arange(4),
        torch.tensor([True, False, False, True]),
        torch.arange(2),
        None,  # type: ignore[arg-type]
    )
    (got,) = concept_detection.judge([scores], [problem], concept_detection.Config())
    assert got == {"auroc": (1.0, 0.0), "f1": (1.0, 0.0), "hard_rejection": (0.5, None)}  # 1.5, between 2 and 1
    table = torch.tensor([[0.0, 3.0], [0.0, 2.0], [0.0, 1.0], [1.0, 0.0]])
    (best,) = _concept_detection_fits.better([None], table, 7, [problem])
    assert (best.train_auroc, best.latent, best.text_scores.test.tolist()) == (1.0, 8, [3.0, 2.0, 1.0, 0.0])
    assert _concept_detection_fits.better([best], table, 0, [problem]) == [best]


@pytest.mark.parametrize("threshold", ["train", "test"])
def test_problems_judged_together_are_judged_as_alone(threshold):
    """Of three sizes, one with hard negatives; AUROC and F1 are scikit-learn's."""
    g, cfg = torch.Generator().manual_seed(5), concept_detection.Config(threshold=threshold, decimals=2)
    scores, problems = [], []
    for n, hard in ((20, 0), (30, 0), (20, 4), (20, 0)):
        texts = [torch.randn(size, generator=g) for size in (n, n, hard)]
        labels = [torch.randperm(n, generator=g) < n // 2 for _ in range(2)]
        ids = [torch.arange(len(t)) for t in texts]
        scores.append(concept_detection.TextScores(*texts))
        problems.append(concept_detection.Problem(None, 0, ids[0], labels[0], ids[1], labels[1], ids[2], None))  # type: ignore[arg-type]
    together = concept_detection.judge(scores, problems, cfg)
    for figures, of, problem in zip(together, scores, problems, strict=True):
        (alone,) = concept_detection.judge([of], [problem], cfg)
        assert figures.keys() == alone.keys()
        assert all(figures[name] == pytest.approx(alone[name], rel=1e-12) for name in alone if name != "hard_rejection")
    assert ["hard_rejection" in figures for figures in together] == [False, False, True, False]
    for figures, text_scores, problem in zip(together, scores, problems, strict=True):
        positive, test = problem.test_positive, text_scores.test.double().round(decimals=2)
        assert figures["auroc"][0] == pytest.approx(metrics.roc_auc_score(positive, test))
        assert figures["auroc"][1] == pytest.approx(auroc_error(test[positive], test[~positive]).item())
        if threshold == "train":
            best = best_f1_threshold(text_scores.train.double().round(decimals=2), problem.train_positive)
            assert figures["f1"][0] == pytest.approx(metrics.f1_score(positive, test > best))


def test_named_latent_is_scored_only_when_asked_for():
    ctx, oracle, _ = world()
    for labelled in ctx.data.concepts:
        object.__setattr__(labelled, "named_latent", 7)
    assert "auroc_named" not in values(DETECTION, subject(oracle), ctx)
    cfg = concept_detection.Config(named_latents=True)
    got = values(DETECTION, subject(oracle), ctx, cfg)
    assert abs(got["auroc_named"] - 0.5) < 0.1 < got["auroc"]


def by_hand(acts: Acts, sae: AffineSAE) -> dict[str, float]:
    """All reconstruction figures over all tokens at once, in float64 numpy."""
    x = acts.x.double().numpy()
    f = sae.encode(acts.x).double().numpy()
    hat = reconstruct(sae, acts.x).double().numpy()
    norm, hat_norm = np.linalg.norm(x, axis=1), np.linalg.norm(hat, axis=1)
    return {
        "explained_variance": 1 - ((x - hat) ** 2).sum() / ((x - x.mean(0)) ** 2).sum(),
        "mse": ((x - hat) ** 2).mean(),
        "cosine": ((x * hat).sum(1) / (norm * hat_norm)).mean(),
        "l2_ratio": (hat_norm / norm).mean(),
        "relative_bias": (hat**2).sum() / (x * hat).sum(),
        "l0": (f != 0).sum(1).mean(),
        "l1": np.abs(f).sum(1).mean(),
        "dead_fraction": (~(f != 0).any(0)).mean(),
        "alive_fraction": (f != 0).any(0).mean(),
        "frequent_fraction": ((f != 0).mean(0) > 0.01).mean(),
        "dense_fraction": ((f != 0).mean(0) > 0.1).mean(),
        **geometry(sae),
        **sizes(x, f, x - hat, sae.W_dec.double().numpy()),
    }


def sizes(x: np.ndarray, f: np.ndarray, residual: np.ndarray, decoder: np.ndarray) -> dict[str, float]:
    """Pathologies of single latents' sizes, one latent at a time."""
    norm, multiples, follows = np.linalg.norm(x, axis=1), [], []
    for code, row in zip(f.T, decoder, strict=True):
        own = np.outer(code, row).ravel()
        multiples.append(1 + own @ residual.ravel() / (own @ own) if code.any() else np.nan)
        follows.append(abs(np.corrcoef(code, norm)[0, 1]) if code.std() > 0 else 0.0)
    return {
        "size_multiple": np.nanmedian(multiples),
        "shrunken_fraction": (np.nan_to_num(multiples) >= 1.1).mean(),
        "norm_detector_fraction": (np.array(follows) >= 0.5).mean(),
    }


def geometry(sae: AffineSAE) -> dict[str, float]:
    """Cosines of encoder and decoder rows, in float64 numpy."""
    encoder, decoder = (t.double().numpy() for t in (sae.W_enc.T, sae.W_dec))
    encoder, decoder = (r / np.linalg.norm(r, axis=1, keepdims=True) for r in (encoder, decoder))
    others = decoder @ decoder.T - 3 * np.eye(len(decoder))
    return {
        "encoder_decoder_cosine": (encoder * decoder).sum(1).mean(),
        "nearest_decoder_cosine": others.max(1).mean(),
        "duplicate_fraction": (others.max(1) >= 0.9).mean(),
    }


@pytest.mark.parametrize("blocks", [1, 7, 64])
def test_reconstruction_figures_match_all_at_once(blocks):
    ctx, _, _ = world()
    sae = random_sae()
    got = values(RECONSTRUCTION, subject(sae), ctx, reconstruction.Config(blocks=blocks))
    assert got == pytest.approx(by_hand(ctx.acts(None), sae), rel=1e-5)


def test_reconstruction_known_answers():
    ctx, oracle, _ = world()
    best = values(RECONSTRUCTION, subject(oracle), ctx)
    assert best["explained_variance"] == pytest.approx(1.0, abs=1e-6)
    assert best["relative_bias"] == pytest.approx(1.0, abs=1e-5)
    assert values(RECONSTRUCTION, subject(permuted(oracle)), ctx)["explained_variance"] < 0
    x = ctx.acts(None).x
    mean_predictor = AffineSAE(
        W_enc=torch.zeros(16, 3), W_dec=torch.zeros(3, 16), b_dec=x.mean(0), subtract_b_dec=False
    )
    flat = values(RECONSTRUCTION, subject(mean_predictor), ctx)
    assert flat["explained_variance"] == pytest.approx(0.0, abs=1e-6)
    assert (flat["l0"], flat["dead_fraction"]) == (0.0, 1.0)


def test_planted_duplicates_dead_and_dense_latents_are_counted():
    ctx, oracle, _ = world()
    w, b = torch.cat([oracle.W_dec, oracle.W_dec[:3], torch.eye(16)[:5]]), torch.zeros(20)
    b[15:18], b[18:] = -1e6, 1e6  # three never fire, two always do
    planted = AffineSAE(W_enc=w.T, W_dec=w, b_dec=oracle.b_dec, b_enc=b)
    got = values(RECONSTRUCTION, subject(planted), ctx)
    assert got["dead_fraction"] == pytest.approx(3 / 20)
    assert got["alive_fraction"] == pytest.approx(17 / 20)
    before = values(RECONSTRUCTION, subject(oracle), ctx)
    assert (before["dead_fraction"], before["frequent_fraction"], before["dense_fraction"]) == (0, 1, 1)
    assert before["nearest_decoder_cosine"] == pytest.approx(0.0, abs=1e-6)
    assert got["nearest_decoder_cosine"] >= 6 / 20
    assert (before["duplicate_fraction"], got["duplicate_fraction"]) == (0, pytest.approx(6 / 20))
    assert got["encoder_decoder_cosine"] == pytest.approx(1.0)
    assert values(RECONSTRUCTION, subject(permuted(oracle)), ctx)["encoder_decoder_cosine"] == pytest.approx(
        0.0, abs=1e-6
    )


OF_THE_DECODER = (
    "nearest_decoder_cosine",
    "duplicate_fraction",
    "size_multiple",
    "shrunken_fraction",
    "norm_detector_fraction",
)


@pytest.mark.parametrize(
    ("changed", "sentence", "missing"),
    [
        (lambda sae: WrappedSAE(sae, {}), "has no affine encoder", {"encoder_decoder_cosine"}),
        (lambda sae: Bare(sae), "shows no decoder", {"encoder_decoder_cosine", *OF_THE_DECODER}),
    ],
)
def test_geometry_that_an_sae_does_not_show_is_a_note(changed, sentence, missing):
    ctx, oracle, _ = world()
    notes = []
    ctx.note = notes.append
    full, got = (values(RECONSTRUCTION, subject(s), ctx) for s in (oracle, changed(oracle)))
    assert set(full) - set(got) == missing
    assert [sentence in n for n in notes] == [True]


class Bare:
    """An SAE that shows nothing but what the protocol asks."""

    def __init__(self, sae: AffineSAE) -> None:
        self.d_in, self.d_sae, self.encode, self.decode = sae.d_in, sae.d_sae, sae.encode, sae.decode


def test_a_coordinate_with_a_huge_mean_keeps_its_digits():
    ctx, _, _ = world()
    acts = ctx.acts(None)
    before = values(RECONSTRUCTION, subject(random_sae()), ctx)["explained_variance"]
    shift = torch.zeros(16)
    shift[3] = 3000.0
    acts.x = acts.x + shift
    sae = random_sae()
    tensors = dict(sae.tensors) | {"b_dec": sae.tensors["b_dec"] + shift}
    after = values(RECONSTRUCTION, subject(AffineSAE(**tensors, **sae.settings())), ctx)["explained_variance"]
    assert after == pytest.approx(before, abs=2e-3)  # float32 input itself is coarse there


def test_constant_activations_are_not_applicable():
    ctx, oracle, _ = world()
    ctx.acts(None).x = torch.ones_like(ctx.acts(None).x)
    with pytest.raises(NotApplicable, match="do not vary"):
        values(RECONSTRUCTION, subject(oracle), ctx)


def test_configs_refuse_what_is_not_declared():
    with pytest.raises(SaebenchError, match=r"setting ks must be .* each one of 1, 2, .*; got \(3,\)"):
        sparse_probing.Config(ks=(3,))  # type: ignore[arg-type]  (the wrong value)
    with pytest.raises(SaebenchError, match="one of mean, last"):
        sparse_probing.Config(poolings=("median",))  # type: ignore[arg-type]  (the wrong value)


def test_pooled_max_auroc_matches_a_loop():
    from saebench_lite.activations.pooling import pooled_codes

    ctx, _, holds = world(texts=40)
    sae, acts = random_sae(), ctx.acts(None)
    table = pooled_codes(sae, acts, ("max", "mean", "last"))
    for low, high in itertools.pairwise(acts.offsets.tolist()):
        row = acts.offsets.tolist().index(low)
        f = sae.encode(acts.x[low:high])
        torch.testing.assert_close(table["max"][row], f.amax(0))
        torch.testing.assert_close(table["mean"][row], f.mean(0))
        torch.testing.assert_close(table["last"][row], f[-1])
    assert auroc(table["max"][holds[:, 0]].T, table["max"][~holds[:, 0]].T).shape == (12,)
