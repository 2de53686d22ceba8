"""Whether a retrained SAE is one more of its recipe: by hand, by simulation, and what the test must leave out."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats as scipy_stats

from saebench_lite.records.metric import Better, Construct
from saebench_lite.records.record import Record
from saebench_lite.report.regression import check
from saebench_lite.report.regression_ci import to_junit
from saebench_lite.report.regression_text import to_markdown, to_text
from tests.helpers.record_factory import made_up

KINDS: dict[str, tuple[Better, Construct | None]] = {
    "explained": ("higher", "fidelity"),
    "bias": ("one", "fidelity"),
    "l0": ("neither", "sparsity"),
    "dead": ("lower", "sparsity"),
    "cosine": ("neither", "geometry"),
    "seconds": ("lower", "cost"),
}
BLOCKS = 0.01 * np.random.default_rng(0).normal(size=(30, 1))


def sae(seed: int, *, wide: bool = True, **values: float) -> Record:
    """An SAE with given means of metrics; explained variance and bias have 30 units of like noise, the others one."""
    tables = {m: np.full((30 if m == "l0" else 1, 1), v) for m, v in values.items()}
    tables |= {m: tables[m] + BLOCKS for m in ("explained", "bias") if m in tables}
    record = made_up(
        "mine",
        tables,
        task="reconstruction",
        seeds=(),
        fingerprint=str(seed),
        metrics={m: KINDS[m][0] for m in values},
        headline=["explained"],
        meta={"d_sae": 64} if wide else {},
    )
    shares = {"lower_bound": 0.0, "upper_bound": 1.0}
    declared = {
        m: replace(d, construct=KINDS[m][1], **(shares if m == "dead" else {})) for m, d in record.task.metrics.items()
    }
    return replace(record, task=replace(record.task, metrics=declared))


def drawn(seed: int, **moved: float) -> Record:
    draw = np.random.default_rng(seed)
    values = {"explained": 0.8 + 0.01 * draw.normal(), "bias": 1 + 0.01 * draw.normal(), "l0": 6.0}
    values |= {"cosine": 0.9 + 0.01 * draw.normal()}
    e, b, n, c = (values[k] + moved.get(k, 0.0) for k in ("explained", "bias", "l0", "cosine"))
    return sae(seed, explained=e, bias=b, l0=n, cosine=c)


def test_the_p_value_is_that_of_prediction_intervals_combined_by_hand():
    base = [sae(i, explained=e, bias=b, cosine=c) for i, (e, b, c) in
            enumerate([(0.80, 0.99, 0.91), (0.82, 1.02, 0.90), (0.81, 1.00, 0.92)])]  # fmt: skip
    (test,) = check([sae(9, explained=0.75, bias=1.05, cosine=0.8)], *([b] for b in base)).recipes

    def p(new: float, earlier: list[float]) -> float:
        t = (new - np.mean(earlier)) / (np.std(earlier, ddof=1) * np.sqrt(4 / 3))
        return float(2 * scipy_stats.t.sf(abs(t), 2))

    def combined(*ps: float) -> float:
        return float(scipy_stats.cauchy.sf(np.mean(scipy_stats.cauchy.isf(ps))))

    fidelity = combined(p(0.75, [0.80, 0.82, 0.81]), p(1.05, [0.99, 1.02, 1.00]))
    geometry = p(0.8, [0.91, 0.90, 0.92])
    assert test.p == pytest.approx(combined(fidelity, geometry), rel=1e-4)
    assert (test.p_holm, test.metrics, test.seeds) == (test.p, 3, (1, 3))
    assert [m.metric for m in test.moved] == ["cosine", "explained", "bias"]


def test_honest_retrainings_pass_and_faults_of_several_metrics_do_not():
    honest = alarms = caught = alone = 0
    for i in range(0, 800, 4):
        base = [[drawn(j)] for j in (i, i + 1, i + 2)]
        good = check([drawn(i + 3)], *base)
        honest, alarms = honest + bool(good.changed), alarms + good.status()
        fault = check([drawn(i + 3, explained=-0.03, bias=0.2, cosine=-0.3)], *base)
        caught += bool(fault.changed)
        alone += bool(fault.regressions)
    assert honest <= 9  # 2.5 of 100
    assert alarms <= 15
    assert caught >= 180
    assert alone < 150  # what single metrics see


def test_what_the_recipe_fixes_needs_no_spread():
    base = [[drawn(i)] for i in range(3)]
    (test,) = check([drawn(9, l0=-2.0)], *base).recipes
    assert test.changed
    assert (test.moved[0].metric, test.moved[0].p, test.moved[0].after) == ("l0", 0.0, 4.0)
    assert "l0 6.000 → 4.000 (the same in all baselines)" in to_text(check([drawn(9, l0=-2.0)], *base))
    assert check([drawn(7, l0=1e-5)], *base).status() == 0  # rounding
    vary = [[drawn(i, l0=0.5 * i)] for i in range(3)]
    assert all(m.p > 0 for m in check([drawn(9, l0=-1.0)], *vary).recipes[0].moved)


def test_agreement_that_is_chance_or_a_bound_tells_nothing():
    alike = [sae(i, explained=0.8 + 0.001 * i, cosine=0.9) for i in range(3)]
    (test,) = check([sae(9, explained=0.8, cosine=0.5)], *([b] for b in alike)).recipes
    assert test.metrics == 1  # one unit that agrees in all baselines may do so by chance
    none = [sae(i, wide=False, explained=0.8 + 0.001 * i, dead=0.0) for i in range(3)]
    (test,) = check([sae(9, wide=False, explained=0.8, dead=0.5)], *([b] for b in none)).recipes
    assert test.metrics == 1
    costs = [sae(i, explained=0.8 + 0.001 * i, seconds=1.0 + 0.01 * i) for i in range(3)]
    (test,) = check([sae(9, explained=0.8, seconds=50.0)], *([b] for b in costs)).recipes
    assert test.metrics == 1


def test_a_share_of_latents_is_as_noisy_as_a_draw_of_latents():
    base = [[sae(i, explained=0.8 + 0.001 * i, dead=0.0)] for i in range(3)]
    (test,) = check([sae(9, explained=0.801, dead=6 / 64)], *base).recipes
    rate = 0.5 / 193
    t = (6 / 64) / np.sqrt(rate * (1 - rate) * (1 / 64 + 1 / 192))
    (dead,) = [m for m in test.moved if m.metric == "dead"]
    assert dead.p == pytest.approx(2 * scipy_stats.t.sf(t, 2))
    one = check([sae(9, explained=0.801, dead=1 / 64)], *base).recipes[0]
    assert not one.changed


def test_one_baseline_the_same_weights_and_a_margin_ask_for_losses_alone():
    base = [[drawn(i)] for i in range(3)]
    assert check([drawn(9, l0=-2.0)], base[0]).recipes == []
    assert check([drawn(1)], *base).recipes == []
    assert check([drawn(9, l0=-2.0)], *base, allow=0.1).recipes == []
    assert check([drawn(9, l0=-2.0)], *base, min_effect=0.0).recipes == []
    assert check([drawn(9, l0=-2.0)], *base).status() == 1


def test_saes_are_adjusted_together_and_order_does_not_matter():
    def named(record: Record, name: str) -> Record:
        subject = replace(record.subject, name=name, fingerprint=f"{name} {record.subject.fingerprint}")
        return replace(record, subject=subject)

    base = [[named(drawn(10 * k + i), n) for k, n in enumerate("abc")] for i in range(3)]
    new = [named(drawn(10 * k + 9, explained=-0.05), n) for k, n in enumerate("abc")]
    tests, other = check(new, *base).recipes, check(new[::-1], *base[::-1]).recipes
    assert [t.subject for t in tests] == ["a", "b", "c"]
    assert min(tests, key=lambda t: t.p).p_holm == pytest.approx(3 * min(t.p for t in tests))
    assert [t.p for t in tests] == pytest.approx([t.p for t in other])


def test_every_report_says_what_changed():
    result = check([drawn(9, cosine=-0.5)], *([drawn(i)] for i in range(3)))
    assert result.status() == 1
    assert "1 SAE not of the baselines' recipe" in to_text(result).splitlines()[0]
    for text in (to_text(result), to_markdown(result), to_junit(result)):
        assert "reconstruction cosine 0." in text
