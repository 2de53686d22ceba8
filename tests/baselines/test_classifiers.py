"""Baselines that are no direction, against scikit-learn or a known answer."""

import sys
import warnings

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from saebench_lite.activations.acts import Acts
from saebench_lite.api.baseline import Baseline
from saebench_lite.api.subject import ClassifierSubject
from saebench_lite.baselines import attention_probe, boosted_trees, knn, mlp, pca_regression
from saebench_lite.data.types import Corpus, Data, Labelled
from saebench_lite.errors import SaebenchError
from saebench_lite.probes.baseline_scores import Question, best_of, choose, fold_masks, text_scorer, validation_folds
from saebench_lite.probes.logistic import scores as linear
from saebench_lite.probes.shared_rows import fit_each
from saebench_lite.runs import runner, setup
from tests.conftest import HOOK
from tests.helpers.planted_world import world

POOLED = [knn, pca_regression, mlp]


def rows(seed: int = 0, n: int = 150, d: int = 10, *, xor: bool = False):
    """(x [n, d], y [n] bool): a noisy direction, or the sign of a product that no direction can tell."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=g) * torch.linspace(0.5, 3, d)
    noise = 0.3 * torch.randn(n, generator=g)
    return x, (x[:, -1] * x[:, -2] > 0) if xor else (x[:, -1] + x[:, 0] + noise > 0)


@pytest.mark.parametrize("k", [1, 5, 32])
def test_neighbours_match_scikit_learn(k):
    x, y = rows()
    new, _ = rows(1)
    want = KNeighborsClassifier(k).fit(x.numpy(), y.numpy()).predict_proba(new.numpy())[:, 1]
    assert knn.shares(x, y, new, (k,))[0].numpy() == pytest.approx(want)


def test_component_regressions_match_scikit_learn():
    x, y = rows()
    new, _ = rows(1)
    x, new = x.double(), new.double()
    nested = linear(pca_regression.fit_nested(x, y, (1, 8)), new)
    for margins, c in zip(nested, (1, 8), strict=True):
        alone = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(x[:, :c].numpy(), y.numpy())
        assert margins.numpy() == pytest.approx(alone.decision_function(new[:, :c].numpy()), abs=1e-5)
    got = pca_regression.classify(x, y, new)
    scaler = StandardScaler().fit(x.numpy())
    pca = PCA().fit(scaler.transform(x.numpy()))
    candidates = []
    for c in (1, 2, 4, 8):
        z, z_new = (pca.transform(scaler.transform(t.numpy()))[:, :c] for t in (x, new))
        candidates.append(
            LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(z, y.numpy()).decision_function(z_new)
        )
    assert min(abs(got.numpy() - want).max() for want in candidates) < 1e-5


def test_network_learns_what_no_direction_can_and_matches_scikit_learns():
    x, y = rows(n=400, d=4, xor=True)
    new, truth = rows(1, n=400, d=4, xor=True)
    ours = roc_auc_score(truth, mlp.classify(x, y, new))
    scaler = StandardScaler().fit(x.numpy())
    theirs = MLPClassifier((32,), alpha=0.1, learning_rate_init=0.01, max_iter=150, random_state=0)
    with warnings.catch_warnings(action="ignore"):
        theirs.fit(scaler.transform(x.numpy()), y.numpy())
    said = np.asarray(theirs.predict_proba(scaler.transform(new.numpy())))
    assert ours > roc_auc_score(truth, said[:, 1]) - 0.02
    direction = fit_each(x, y[None], torch.ones(1, 400))
    assert roc_auc_score(truth, linear(direction, new)[0]) < 0.65 < 0.95 < ours


def test_networks_side_by_side_are_those_trained_alone():
    x, y = rows()
    part = torch.arange(150) < 90
    both = mlp.logits(mlp.train(x, y, torch.stack([~part, part]), (1.0, 0.01)), x)
    alone = mlp.logits(mlp.train(x[:90], y[:90], torch.ones(1, 90, dtype=torch.bool), (0.01,)), x)
    torch.testing.assert_close(both[1:], alone, rtol=1e-3, atol=1e-3)


def test_trees_match_xgboosts_own_classifier_and_learn_products():
    xgboost = pytest.importorskip("xgboost")
    x, y = rows(n=400, d=4, xor=True)
    new, truth = rows(1, n=400, d=4, xor=True)
    got = boosted_trees.grow(x, y, new, 2)
    kept = {
        "base_score": 0.5,
        "colsample_bytree": 0.5,
        "tree_method": "hist",
        "max_bin": 64,
        "n_jobs": 1,
        "random_state": 0,
    }
    want = xgboost.XGBClassifier(n_estimators=100, max_depth=2, learning_rate=0.1, **kept)
    want.fit(x.numpy(), y.numpy())
    assert got.numpy() == pytest.approx(want.predict(new.numpy(), output_margin=True), abs=1e-5)
    assert roc_auc_score(truth, boosted_trees.classify(x, y, new)) > 0.9


def test_trees_without_the_extra_say_which_one(monkeypatch):
    monkeypatch.setitem(sys.modules, "xgboost", None)
    x, y = rows()
    with pytest.raises(SaebenchError, match=r"needs xgboost; install it with pip install 'saebench-lite\[trees\]'"):
        boosted_trees.classify(x, y, x)


def needle(seed: int, texts: int = 200, length: int = 20, d: int = 8):
    """One token of a text shouts in coordinate 0 and says yes or no in coordinate 1, where the others make noise."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(texts, length, d, generator=g)
    x[:, :, 1] *= 5
    y = torch.arange(texts) % 2 == 0
    place = torch.randint(length, (texts,), generator=g)
    x[torch.arange(texts), place, 0] = 12.0
    x[torch.arange(texts), place, 1] = torch.where(y, 4.0, -4.0)
    return Acts(x.reshape(-1, d), torch.arange(0, texts * length + 1, length)), y


def test_attention_finds_the_token_that_matters():
    (train, y), (judged, truth) = needle(0), needle(1)
    got = roc_auc_score(truth, attention_probe.classify_tokens(train, y, judged))
    means = [a.x.reshape(len(a), -1, a.d).mean(1) for a in (train, judged)]
    pooled = roc_auc_score(truth, linear(fit_each(means[0], y[None], torch.ones(1, 200)), means[1])[0])
    assert pooled < 0.8 < 0.95 < got


def test_attention_logits_match_a_loop():
    g = torch.Generator().manual_seed(0)
    x, owner = torch.randn(7, 3, generator=g), torch.tensor([0, 0, 0, 1, 2, 2, 2])
    attend, vote, bias = torch.randn(3, 2, generator=g), torch.randn(3, 2, generator=g), torch.randn(2, generator=g)
    got = attention_probe.logits(attention_probe.Probes(torch.cat([attend, vote], 1), bias), x, owner, 3)
    for text in range(3):
        mine = x[owner == text]
        want = ((mine @ attend).softmax(0) * (mine @ vote)).sum(0) + bias
        torch.testing.assert_close(got[:, text], want)


def test_attention_probes_side_by_side_are_those_trained_alone():
    some, y = needle(0, texts=60)
    x, owner = attention_probe.tokens(some, y.device)
    part = torch.arange(60) < 40
    both = attention_probe.train(x, owner, y, torch.stack([~part, part]), (1.0, 0.01))
    few = attention_probe.tokens(some.take(part.nonzero()[:, 0]), y.device)
    alone = attention_probe.train(*few, y[:40], torch.ones(1, 40, dtype=torch.bool), (0.01,))
    got = attention_probe.logits(both, x, owner, 60)[1:]
    torch.testing.assert_close(got, attention_probe.logits(alone, x, owner, 60), rtol=1e-2, atol=1e-2)


def test_best_of_masks_is_choose():
    y = torch.arange(40) % 2 == 0
    margins = torch.randn(len(fold_masks(y)), 3, 40, generator=torch.Generator().manual_seed(0))
    by_fold = {tuple(f.validation.tolist()): m for f, m in zip(validation_folds(y), margins, strict=True)}
    assert best_of(y, margins) == choose(
        y, 3, lambda fit, validation: by_fold[tuple(validation.tolist())][:, validation]
    )
    assert [m.nonzero()[:, 0].tolist() for m in fold_masks(y)] == [f.fit.tolist() for f in validation_folds(y)]
    assert fold_masks(torch.tensor([True, False])).shape == (0, 2)


@pytest.mark.parametrize("module", POOLED, ids=lambda m: m.BASELINE.name)
def test_same_rows_same_scores_and_two_rows_are_enough(module):
    x, y = rows()
    classify = module.BASELINE.classify
    assert torch.equal(classify(x, y, x[:9]), classify(x, y, x[:9]))
    pair = torch.stack([x[y][0], x[~y][0]])
    got = classify(pair, torch.tensor([True, False]), pair)
    assert got[0] > got[1]
    assert not module.BASELINE.default


@pytest.mark.parametrize("module", POOLED, ids=lambda m: m.BASELINE.name)
def test_positive_scores_mean_yes(module):
    x, y = rows()
    said = module.BASELINE.classify(x, y, x) > 0
    assert (said == y).double().mean() > 0.8


def test_validation_folds_by_hand():
    assert validation_folds(torch.tensor([True, False])) == []
    folds = validation_folds(torch.arange(10) % 2 == 0)
    assert sorted(i for f in folds for i in f.validation.tolist()) == list(range(10))
    assert all(not set(f.fit.tolist()) & set(f.validation.tolist()) for f in folds)
    (only,) = validation_folds(torch.arange(200) % 2 == 0)
    assert only.validation.tolist() == list(range(160, 200))


def test_choose_takes_the_best_and_the_first_of_equals():
    y = torch.arange(40) % 2 == 0
    good, bad = y.double(), -y.double()
    assert choose(y, 3, lambda fit, validation: torch.stack([bad, good, good])[:, validation]) == 1
    assert choose(torch.tensor([True, False]), 2, lambda fit, held: torch.empty(0)) == 0


def test_reader_fits_on_the_training_texts_only():
    ctx, _, holds = world(texts=60)
    table = ctx.acts(None).x[ctx.acts(None).offsets[1:] - 1]

    def classify(x, y, judged):
        assert torch.equal(x, table[:40])
        assert torch.equal(judged, table[40:])
        return judged[:, 0]

    who = ClassifierSubject(name="s", kind="baseline", fingerprint="f", classify=classify)
    question = Question(torch.arange(40), holds[:40, 0], torch.arange(40, 60))
    (got,) = text_scorer(who, ctx, ctx.data.texts[0], "last")([question])
    assert got.shape == (20,)


def test_a_baseline_has_exactly_one_way():
    with pytest.raises(ValueError, match="exactly one of probe, classify"):
        Baseline(name="b", description="c", kind="baseline", probe=fit_each, classify=knn.classify)
    with pytest.raises(ValueError, match="exactly one of"):
        Baseline(name="b", description="c", kind="baseline")


def test_a_run_gives_classifiers_to_the_tasks_that_take_them(pico, concepts):
    whole = concepts.datasets[0]
    rows = np.concatenate([np.flatnonzero(whole.positive)[:60], np.flatnonzero(~whole.positive)[:60]])
    corpus = Corpus("some", tuple(whole.corpus.texts[whole.rows[row]] for row in rows))
    some = Labelled("some", corpus, np.arange(120), np.arange(120) < 60)
    records = runner.run(
        [],
        model=pico,
        hook=HOOK,
        data=Data("some", datasets=(some,), concepts=(some,)),
        tasks=["sparse_probing", "concept_detection"],
        baselines=["knn", "attention_probe", "logistic"],
        seeds=1,
    )
    got = {(r.task.name, r.subject.name): r.status for r in records}
    want = [("sparse_probing", name) for name in ("knn", "attention_probe", "logistic")]
    assert got == dict.fromkeys([*want, ("concept_detection", "logistic")], "ok")
    assert "probing_regimes" not in setup.unasked_tasks()
