"""The gate: alarms on what got worse beyond noise, and on nothing else."""

import json
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from saebench_lite.errors import SaebenchError
from saebench_lite.records.metric import Better
from saebench_lite.records.record import Record
from saebench_lite.report.regression import check
from saebench_lite.report.regression_ci import to_benchmark, to_junit
from saebench_lite.report.regression_text import to_markdown, to_text
from saebench_lite.stats.paired import holm
from tests.helpers.record_factory import made_up

UNIT = np.random.default_rng(0).normal(0.7, 0.1, size=(20, 1))


def run(draw: np.random.Generator, first: int, drop: float = 0.0, noise: float = 0.03) -> list[Record]:
    """Two SAEs on a seeded task with two metrics, under three seeds from `first`; `drop` lowers one metric of one."""
    seeds = (first, first + 1, first + 2)

    def values(lower: float) -> np.ndarray:
        return UNIT - lower + noise * draw.normal(size=(20, 3))

    return [made_up(n, {"auroc": values(d), "delta": values(0.0)}, seeds=seeds) for n, d in (("a", drop), ("b", 0.0))]


def exact(drop: float = 0.0) -> list[Record]:
    """An SAE on a task that draws no random numbers."""
    return [made_up("a", {"auroc": UNIT - drop * (1 + UNIT)}, task="reconstruction", seeds=())]


def test_the_same_results_pass():
    records = run(np.random.default_rng(0), 1) + exact()
    result = check(records, records)
    assert (result.status(), result.problems, result.regressions) == (0, [], [])
    assert {f.p_holm for f in result.findings} == {1.0}
    assert "No regression beyond noise in 5 comparisons" in to_markdown(result)


def test_rounding_is_no_regression_and_a_small_exact_loss_is():
    assert check(exact(1e-8), exact()).status() == 0
    assert check(exact(3e-5), exact()).status() == 0
    assert check(exact(1e-3), exact()).status() == 1
    assert check(exact(-1e-3), exact()).findings[0].verdict == "better"
    assert check(exact(1e-3), exact(), min_effect=0.01).status() == 0


def test_the_same_values_under_two_settings_are_one_test():
    """As a metric has that does not read the setting; without a change each counts, for metrics may agree by chance."""

    def of(fingerprint: str, *losses: float) -> list[Record]:
        draw = np.random.default_rng(len(fingerprint))
        tables = [UNIT - loss * (1 + UNIT) + 0.05 * draw.normal(size=UNIT.shape) for loss in losses]
        tables = [tables[0], tables[0], *tables[1:]]
        given = {"seeds": (), "fingerprint": fingerprint}
        return [made_up("a", {"auroc": x}, settings={"k": k}, **given) for k, x in enumerate(tables)]

    result = check(of("new", 0.05, 0.03, 0.0), of("before", 0.0, 0.0, 0.0))
    raw = sorted({f.p for f in result.findings if f.p is not None})
    assert len(result.findings) == 4
    assert len(raw) == 3
    by = {f.p: f.p_holm for f in result.findings}
    assert [by[p] for p in raw] == pytest.approx(holm(np.array(raw)).tolist())
    said = "a: sparse_probing auroc, sparse_probing auroc: the same values in every unit; counted once by Holm"
    assert said in result.notes
    assert not any("counted once" in note for note in check(of("new", 0.0), of("new", 0.0)).notes)


def test_new_seeds_alone_raise_few_alarms_and_faults_are_caught():
    alarms = caught = 0
    for trial in range(200):
        draw = np.random.default_rng(trial)
        before = run(draw, 1)
        alarms += check(run(draw, 100), before).status()
        found = check(run(draw, 100, drop=0.06), before)
        caught += [(f.subject, f.metric) for f in found.regressions] == [("a", "auroc")]
    assert alarms <= 10, alarms
    assert caught >= 190, caught


def test_both_significance_and_size_are_needed():
    """A loss that all units share but that reseeding explains (all move together) is no regression."""
    shift = np.array([-0.05, 0.0, 0.05])
    before = [made_up("a", {"auroc": UNIT + shift})]
    after = [made_up("a", {"auroc": UNIT + shift - 0.03 * (1 + 0.1 * UNIT)}, seeds=(7, 8, 9))]
    (finding,) = check(after, before).findings
    assert finding.p_holm is not None
    assert finding.p_holm < 0.001
    assert finding.threshold > 0.03
    assert finding.verdict == "ok"
    assert check(after, before, min_effect=0.01).status() == 1


def test_one_seed_leaves_the_decision_to_the_paired_test():
    before = [made_up("a", {"auroc": UNIT}, seeds=(1,))]
    result = check([made_up("a", {"auroc": UNIT - 0.1 * UNIT}, seeds=(2,))], before)
    assert result.status() == 1
    assert "one seed shows no noise" in to_markdown(result)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"subject": "other"}, "a: the new results hold no subject of that name"),
        ({"task": "ce_delta"}, "a: sparse_probing: a has no record of it"),
        ({"version": 2}, "a: sparse_probing: different task version (1 and 2)"),
        ({"hook": "x"}, "a: sparse_probing: different site hook (h and x)"),
        ({"data": "1"}, "a: sparse_probing: different data (d0 and d1)"),
        ({"settings": {"k": 1}}, "a: sparse_probing: different setting k (None and 1)"),
        ({"status": "failed"}, "a: sparse_probing is failed now (it broke)"),
        ({"values": {"delta": UNIT}}, "a: sparse_probing has no auroc any more"),
    ],
)
def test_what_cannot_be_compared_is_named(change, sentence):
    before = [made_up("a", {"auroc": UNIT}, seeds=(1,))]
    result = check([made_up(**({"subject": "a", "values": {"auroc": UNIT}, "seeds": (1,)} | change))], before)
    assert (result.status(), result.problems[-1]) == (2, sentence)
    assert len(result.problems) == (2 if "subject" in change else 1)  # a renamed one is missing and extra
    assert f"not comparable: {sentence}" in to_markdown(result)


def test_only_saes_and_directed_metrics_are_judged():
    before = [made_up("a", {"l0": UNIT, "auroc": UNIT}, seeds=())]
    before += [made_up("c", {"auroc": UNIT}, kind="control", seeds=())]
    result = check([made_up("a", {"l0": UNIT + 9, "auroc": UNIT}, seeds=())], before)
    assert [f.metric for f in result.findings] == ["auroc"]
    assert result.status() == 0
    with pytest.raises(SaebenchError, match="holds no scores of SAEs"):
        check([], before[1:])


def test_junit_is_complete():
    lost = made_up("gone", {"auroc": UNIT}, seeds=())
    single, changed = (made_up("a", {"auroc": UNIT[:1] - d}, task="absorption", seeds=()) for d in (0.0, 0.1))
    result = check([*exact(1e-2), changed], [*exact(), single, lost])
    suite = ElementTree.fromstring(to_junit(result))[0]
    assert {k: suite.get(k) for k in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4", "failures": "1", "errors": "2", "skipped": "1"
    }  # fmt: skip
    assert len(suite.findall("testcase")) == 4
    (case,) = [c for c in suite if c.find("failure") is not None]
    assert (case.get("classname"), case.get("name")) == ("reconstruction.auroc", "a")
    assert "auroc went from" in (case.find("failure").get("message") or "")  # type: ignore[union-attr]


def test_a_terminal_gets_what_is_worse_or_undecided_and_a_line():
    before = run(np.random.default_rng(0), 1)
    passed = to_text(check(before, before))
    assert passed.splitlines() == ["No regression beyond noise in 4 comparisons", "", "--all shows 4 more comparisons."]
    result = check(run(np.random.default_rng(1), 100, drop=0.06), before)
    lines = to_text(result).splitlines()
    assert lines[0] == "1 regression beyond noise in 4 comparisons"
    assert [line.split()[:3] for line in lines if line.endswith("worse")] == [["a", "sparse_probing", "auroc"]]
    assert not [line for line in lines if line.endswith("ok")]
    assert max(len(line) for line in lines) <= 100
    every = to_text(result, every=True).splitlines()
    assert sum(line.endswith(("ok", "better", "worse")) for line in every) == 4
    alone = [made_up("a", {"auroc": UNIT - d}, seeds=(1,), fingerprint=str(d)) for d in (0.0, 0.1)]
    assert "one earlier SAE shows" in to_text(check([alone[1]], [alone[0]]))
    passed = to_text(check([alone[0]], [alone[1]]))
    assert "one earlier SAE shows" not in passed
    assert passed.endswith("--all shows 1 more comparison and 2 remarks.\n")


def test_the_benchmark_action_gets_scores_by_direction():
    values = {"auroc": UNIT, "delta": UNIT, "ratio": UNIT, "l0": UNIT}
    before, after = made_up("a", values, seeds=()), made_up("a", values | {"ratio": UNIT - 0.1 * UNIT}, seeds=())
    result = check([after], [before])
    bigger, smaller = (json.loads(to_benchmark(result, which)) for which in ("bigger", "smaller"))
    assert [r["name"] for r in bigger] == ["a / sparse_probing auroc"]
    assert [r["name"] for r in smaller] == ["a / sparse_probing delta", "a / sparse_probing ratio, distance from 1"]
    assert all(set(r) <= {"name", "unit", "value", "range", "extra"} for r in bigger + smaller)
    assert all(isinstance(r[k], str) for r in bigger + smaller for k in ("name", "unit", "extra"))
    assert bigger[0]["value"] == pytest.approx(UNIT.mean())
    assert smaller[1]["value"] == pytest.approx(1 - 0.9 * UNIT.mean())
    assert smaller[1]["extra"].startswith("worse, before ")


@pytest.mark.parametrize(("drop", "code"), [(0.0, 0), (1e-2, 1), (None, 2)])
def test_command_line(tmp_path, drop, code):
    exact()[0].save(tmp_path / "old")
    new = made_up("other", {"auroc": UNIT}, seeds=()) if drop is None else exact(drop)[0]
    new.save(tmp_path / "new")
    words = ["check", str(tmp_path / "new"), "--against", str(tmp_path / "old")]
    words += ["--markdown", str(tmp_path / "m.md"), "--junit", str(tmp_path / "j.xml")]
    done = subprocess.run([sys.executable, "-m", "saebench_lite", *words], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert (tmp_path / "m.md").read_text().startswith("## ")
    assert ElementTree.parse(tmp_path / "j.xml").getroot().tag == "testsuites"


def test_metrics_that_the_audit_does_not_pass_are_marked_where_they_gate():
    """`sparse_probing` 4: `f1_k1_mean` is open, `average_precision_mean` passes, the others are unknown."""
    names: dict[str, Better] = dict.fromkeys(("f1_k1_mean", "average_precision_mean", "new"), "higher")
    before, after = (
        [made_up("a", dict.fromkeys(names, UNIT - d), seeds=(), version=4, metrics=names)] for d in (0.0, 0.2)
    )
    for shown in (to_text(check(after, before)), to_markdown(check(after, before))):
        assert "f1_k1_mean (open)" in shown
        assert "average_precision_mean " in shown
        assert "new (?)" in shown
        assert "(open): the audit leaves open whether the metric follows what it claims" in shown
        assert "(misses)" not in shown
