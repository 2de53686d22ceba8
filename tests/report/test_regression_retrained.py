"""The gate with several retrained baselines: training noise counts, faults beyond it do, the rest is undecided."""

import numpy as np
import pytest

from saebench_lite.records.metric import Better
from saebench_lite.records.record import Record
from saebench_lite.report.regression import check
from saebench_lite.report.regression_text import to_markdown
from saebench_lite.stats.retraining import retraining, retraining_p
from tests.helpers.record_factory import made_up

UNIT = np.random.default_rng(0).normal(0.7, 0.1, size=(30, 1))
TRAINING = 0.02


def sae(seed: int, loss: float = 0.0, name: str = "mine", **other) -> Record:
    """An SAE of another training seed: a shift of its own for all units, and some noise of each."""
    draw = np.random.default_rng(1000 + seed)
    values = UNIT + TRAINING * draw.normal() + 0.005 * draw.normal(size=UNIT.shape) - loss
    given = {"task": "reconstruction", "seeds": (), "fingerprint": f"weights {seed}"}
    return made_up(name, {"auroc": values}, **(given | other))


def folders(*seeds: int) -> list[list[Record]]:
    return [[sae(s)] for s in seeds]


def test_one_baseline_mistakes_training_for_a_regression_and_says_so():
    alarms = [check([sae(2 * i)], [sae(2 * i + 1)]).status() for i in range(40)]
    assert np.mean(alarms) > 0.3
    result = check([sae(0)], [sae(1)])
    assert "one earlier SAE shows the noise of the evaluation alone" in to_markdown(result)
    assert check([sae(0)], [sae(0)]).caveats == []  # the same weights


def test_three_baselines_do_not_and_a_loss_beyond_training_is_caught():
    alarms, caught = [], []
    for i in range(200):
        base = folders(*(10_000 + 4 * i + j for j in range(3)))
        alarms.append(check([sae(10_003 + 4 * i)], *base).status())
        caught.append(check([sae(10_003 + 4 * i, loss=0.3)], *base).status())
    assert np.sum(alarms) <= 10
    assert np.mean(caught) >= 0.95


def test_the_finding_is_that_of_the_prediction_interval():
    scores = [sae(i).scores["auroc"].value for i in range(5)]
    (found,) = check([sae(0)], *folders(1, 2, 3, 4)).findings
    want = retraining(np.array(scores[:1]), np.array(scores[1:]))
    assert found.gain == pytest.approx(want.difference, abs=1e-6)
    assert found.p == pytest.approx(retraining_p(want), rel=1e-4)
    assert found.seeds == (1, 4)
    assert found.before == pytest.approx(np.mean(scores[1:]))


def test_folders_and_names_of_one_recipe_are_the_same_baselines():
    def named(seed: int, **other) -> Record:
        meta = {"architecture": "topk", "sample_l0": 8.0 + seed, "recipe": {"lr": 0.1, "seed": seed}}
        return sae(seed, name=f"topk_seed{seed}", meta=meta, **other)

    by_name = check([sae(0)], *folders(1, 2, 3)).findings[0]
    by_recipe = check([named(0)], [named(1), named(2), named(3)]).findings[0]
    spread = check([named(0)], [named(1)], [named(2), named(3)]).findings[0]
    assert by_name.p == pytest.approx(by_recipe.p)
    assert by_recipe == spread
    both = check([named(4), named(5)], [named(1), named(2), named(3)]).findings[0]
    assert (both.subject, both.seeds) == ("topk", (2, 3))
    rescored = check([named(1), named(2), named(3)], [named(1), named(2), named(3)])
    assert [(f.subject, f.seeds, f.verdict) for f in rescored.findings] == [
        (f"topk_seed{i}", (1, 1), "ok") for i in (1, 2, 3)
    ]


def test_saes_whose_metadata_tell_one_recipe_and_one_seed_are_no_retrainings():
    meta = {"recipe": {"lr": 0.1, "seed": 1}}
    base = [sae(i, name=n, meta=meta) for i, n in enumerate("abc")]
    result = check([sae(10 + i, name=n, meta=meta) for i, n in enumerate("abc")], base)
    assert [(f.subject, f.seeds) for f in result.findings] == [(n, (1, 1)) for n in "abc"]


def test_order_of_folders_and_records_does_not_matter():
    base = folders(1, 2, 3)
    (one,), (other,) = (check([sae(0)], *order).findings for order in (base, base[::-1]))
    assert (one.gain, one.p, one.verdict) == (pytest.approx(other.gain), pytest.approx(other.p), other.verdict)


def test_equal_weights_in_several_folders_count_once():
    (found,) = check([sae(0)], [sae(1)], [sae(1)], [sae(2)]).findings
    assert found.seeds == (1, 2)


def test_what_more_seeds_would_decide_is_undecided():
    scores = np.array([sae(i).scores["auroc"].value for i in (1, 2, 3)])
    loss = sae(0).scores["auroc"].value - scores.mean() + 5.5 * scores.std(ddof=1)
    two: dict[str, Better] = {"auroc": "higher", "delta": "higher", "ratio": "higher", "l0": "higher"}

    def wide(seed: int, drop: float = 0.0) -> Record:
        table = {m: UNIT for m in ("delta", "ratio", "l0")} | {"auroc": UNIT + _shift(seed) - drop}
        return made_up("mine", table, task="t", seeds=(), fingerprint=str(seed), metrics=two)

    def _shift(seed: int) -> float:
        return float(sae(seed).scores["auroc"].value - UNIT.mean())

    result = check([wide(0, loss)], *([wide(i)] for i in (1, 2, 3)))
    (found,) = result.undecided
    assert found.p is not None
    assert found.p <= 0.05
    assert "more training seed" in (found.needs or "")
    assert (result.status(), result.status(strict=True)) == (0, 3)
    assert "undecided: mine: t auroc: about" in to_markdown(result)


@pytest.mark.parametrize(
    ("loss", "verdicts"),
    [(0.0, ("ok", "ok")), (0.15, ("worse", "ok")), (0.2, ("worse", "undecided")), (0.5, ("worse",) * 2)],
)
def test_a_margin_asks_whether_the_loss_is_smaller(loss, verdicts):
    base, new = folders(*range(1, 9)), sae(0, loss=loss)
    plain, allowed = check([new], *base).findings[0], check([new], *base, allow=0.2).findings[0]
    assert (plain.verdict, allowed.verdict) == verdicts
    if allowed.verdict == "undecided":
        assert allowed.needs is not None


def test_a_margin_with_the_same_weights():
    after = [made_up("mine", {"auroc": UNIT - 0.02 * (1 + UNIT)}, task="reconstruction", seeds=(), fingerprint="x")]
    before = [made_up("mine", {"auroc": UNIT}, task="reconstruction", seeds=(), fingerprint="x")]
    assert [check(after, before, allow=m).findings[0].verdict for m in (0.01, 0.034, 0.05)] == [
        "worse", "undecided", "ok"
    ]  # fmt: skip
    (same,) = check(before, before, allow=0.001).findings
    assert same.verdict == "ok"


def test_the_training_spread_is_at_least_the_noise_of_the_evaluation():
    """Two baselines that agree by chance do not make a small change a regression."""
    alike = [
        [sae(1)],
        [made_up("mine", {"auroc": UNIT + 1e-6 * (1 + UNIT)}, task="reconstruction", seeds=(), fingerprint="b")],
    ]
    first = made_up("mine", {"auroc": UNIT}, task="reconstruction", seeds=(), fingerprint="a")
    noise = 0.01 * np.random.default_rng(5).normal(size=UNIT.shape)
    new = made_up("mine", {"auroc": UNIT - 0.001 + noise}, task="reconstruction", seeds=(), fingerprint="n")
    assert check([new], [first], alike[1]).status() == 0


def test_one_unit_is_judged_by_the_spread_of_training():
    def single(seed: int, loss: float = 0.0) -> Record:
        return made_up(
            "mine", {"auroc": UNIT[:1] + _noise(seed) - loss}, task="reconstruction", seeds=(), fingerprint=str(seed)
        )

    def _noise(seed: int) -> float:
        return 0.01 * float(np.random.default_rng(seed).normal())

    base = [[single(i)] for i in range(1, 6)]
    assert check([single(0)], *base).findings[0].verdict == "ok"
    assert check([single(0, 0.2)], *base).findings[0].verdict == "worse"
    agreeing = [[made_up("mine", {"auroc": UNIT[:1]}, task="reconstruction", seeds=(), fingerprint=f)] for f in "ab"]
    flat = check([single(0, 0.2)], *agreeing)
    assert flat.status() == 2
    assert "agree to the last digit" in flat.problems[0]
