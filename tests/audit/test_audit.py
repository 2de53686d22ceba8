"""Grades from hand-made records whose right answer is known; the panel trained for real on the tiny world."""

import dataclasses

import numpy as np
import pytest
from scipy import stats as reference

from saebench_lite.audit import correlations, duel, grade, page
from saebench_lite.stats.intervals import standard_error
from tests.helpers.audit_records import probing_records, record, records
from tests.helpers.record_factory import made_up


@pytest.fixture(scope="module")
def grades():
    return {g.metric: g for g in grade.grades(records())}


def test_a_sound_metric_gets_an_a_whatever_its_direction(grades):
    for metric in ("auroc_k1_mean", "error", "ratio"):
        g = grades[metric]
        assert g.grade == "A"
        assert g.truth > 0.98
        assert g.truth_low <= g.truth <= g.truth_high
        assert g.growth == pytest.approx(1.0)
        assert g.oracle_first
        assert g.random_last
        assert g.noise == pytest.approx(0.001 / 0.95, rel=0.5)
    assert grades["auroc_k1_mean"].settings == pytest.approx(1.0, abs=0.02)
    assert grades["error"].settings is None


def test_what_disagrees_with_the_truth_fails_and_noise_costs_letters(grades):
    assert grades["wrong"].grade == "F"
    assert grades["wrong"].truth < -0.98
    assert not grades["wrong"].oracle_first
    assert grades["noisy"].grade > "B"
    assert grades["noisy"].power < 3
    assert grades["noisy"].noise > 0.1
    assert "count" not in grades


def test_power_is_spread_over_noise(grades):
    rows = {r.subject.name: r.scores["noisy"] for r in records() if r.task.name == "task"}
    trained = [n for n in rows if n[0] in "ab" and "@" not in n]
    sd = np.sqrt(np.mean([np.var(rows[n].per_seed, ddof=1) for n in trained]))
    by = [np.std([rows[f"{a}{i}"].value for i in range(6)], ddof=1) / sd for a in "ab"]
    assert grades["noisy"].power == pytest.approx(np.sqrt(np.prod(by)))


def test_rank_formulas_against_scipy():
    r = np.random.default_rng(2)
    x, y = r.integers(5, size=30).astype(float), r.random(30)
    assert correlations.spearman(x, y) == pytest.approx(reference.spearmanr(x, y)[0])
    assert np.isnan(correlations.spearman(np.ones(5), y[:5]))
    assert correlations.mean_rank(np.array([[1.0, 2, 3], [3, 1, 2]])).tolist() == [2, 1.5, 2.5]


def test_bootstrap_is_the_correlation_of_subjects_drawn_with_replacement():
    r = np.random.default_rng(4)
    x, y = r.integers(6, size=12).astype(float), r.random(12)
    got = correlations.bootstrap_spearman([x, y], y, "seed", draws=50)
    drawn = correlations.rng("audit bootstrap", "seed").integers(12, size=(50, 12))
    assert got[:, 0] == pytest.approx([reference.spearmanr(x[s], y[s])[0] for s in drawn])
    assert got[:, 1] == pytest.approx(np.ones(50))


def test_letters():
    good: dict[str, float | None] = {"noise": 0.01, "growth": 0.9, "power": 9.0, "settings": 0.9}
    assert grade.letter(0.9, good) == "A"
    assert grade.letter(0.9, good | {"power": 1.0}) == "B"
    assert grade.letter(0.4, good | {"power": 1.0, "noise": 0.5}) == "D"
    assert grade.letter(0.9, dict.fromkeys(good)) == "A"
    assert grade.letter(0.29, good) == "F"
    assert grade.letter(float("nan"), good) == "F"


def test_noise_without_seeds_is_the_standard_error_over_units_whatever_the_interval():
    r = np.random.default_rng(5)
    values = r.gamma(0.5, size=(9, 1))
    clipped = made_up("a", {"auroc": values}, seeds=())
    clipped.scores["auroc"] = dataclasses.replace(clipped.scores["auroc"], high=1.0)
    assert grade.signed_score(clipped, "auroc").error == pytest.approx(reference.sem(values[:, 0]))
    assert grade.signed_score(made_up("a", {"auroc": values[:1]}, seeds=()), "auroc").error is None
    weights = r.gamma(2.0, size=(9, 1))
    weighted = grade.signed_score(made_up("a", {"delta": values}, seeds=(), weights=weights), "delta")
    assert weighted.value == pytest.approx(-np.average(values, weights=weights))
    assert weighted.error == pytest.approx(standard_error(values[:, 0], weights[:, 0]))


def test_random_controls_are_told_by_the_control_not_by_the_sae_it_was_made_of():
    rows = records()
    q = {t: [0.2] * 3 for t in grade.TRUTHS}
    rows += [record("truth", n, {}, q, "control") for n in ("permuted_decoder of random_init", "random_topk")]
    assert grade.roles_of(rows).random == ["matched_random of a3", "random_topk"]


def test_settings_are_read_off_the_name():
    assert grade.setting_of("auroc_k10_last") == ("auroc", "k10 last")
    assert grade.setting_of("average_precision_mean") == ("average_precision", "mean")
    assert grade.setting_of("f1") == ("f1", "")


def test_contradictions(grades):
    names = [f"a{i}" for i in range(6)]
    three = [grades["auroc_k1_mean"], grades["error"], grades["wrong"]]
    scores = np.array([[g.values[n] for n in names] for g in three])
    assert correlations.contradictions(scores).tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]


def test_duel_by_hand_and_page():
    rows = probing_records()
    grades, roles = grade.grades(rows), grade.roles_of(rows)
    first, plain = duel.duel(rows, grades, roles)
    assert (first.metric, first.ahead) == ("average_precision_max", None)
    assert first.truth > 0.98 > -0.98 > plain.truth
    assert plain.ahead is not None
    assert plain.ahead[0] == pytest.approx(first.truth - plain.truth)
    assert 1.8 < plain.ahead[1] <= plain.ahead[2] <= 2
    assert first.within > 0.9
    assert plain.within < -0.9
    at = duel.architectures(rows, roles)
    assert [name for name, _ in at] == ["b", "a"] or [name for name, _ in at] == ["a", "b"]
    assert all(abs(figures["l0"] - 9) < 2 for _, figures in at)
    text = page.markdown(grades, rows, "hand-made", "the command")
    assert "12 SAEs of 2 architectures (a, b)" in text
    assert "| F       | sparse_probing auroc_k1_mean" in text
    assert "Command: `the command`" in text
