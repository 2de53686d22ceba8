"""Margins of a check: one for all metrics or one a metric, and names that fit none."""

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import saebench_lite as sb
from saebench_lite.cli.main import app
from saebench_lite.errors import SaebenchError
from saebench_lite.records.record import Record
from saebench_lite.report.margins import parsed
from saebench_lite.report.regression import check
from saebench_lite.report.regression_text import to_markdown, to_text
from tests.helpers.record_factory import made_up

UNIT = np.random.default_rng(0).normal(0.7, 0.1, size=(40, 1))


def run(loss: float = 0.0) -> list[Record]:
    """An SAE on two tasks: auroc on both, delta (lower is better), l0 without a direction, ratio not shown unasked."""
    table = {"auroc": UNIT - loss * (1 + UNIT), "delta": UNIT + loss * (1 + UNIT), "l0": UNIT, "ratio": 1 + UNIT}
    heads = ["auroc", "delta", "l0"]
    return [made_up("a", table, seeds=(), headline=heads), made_up("a", {"auroc": UNIT}, task="other", seeds=())]


def verdicts(**options) -> dict[str, str]:
    return {f"{f.task}.{f.metric}": f.verdict for f in check(run(0.02), run(), **options).findings}


def test_each_metric_is_held_to_its_own_margin():
    """The loss is about .034 on two metrics; a name takes the place of the margin for all."""
    worse, ok = {"sparse_probing.auroc": "worse", "sparse_probing.delta": "worse"}, {"other.auroc": "ok"}
    assert verdicts() == worse | ok
    assert verdicts(allow={"delta": 0.1}) == worse | ok | {"sparse_probing.delta": "ok"}
    assert verdicts(allow={"*": 0.1, "delta": 0.01}) == ok | {
        "sparse_probing.auroc": "ok", "sparse_probing.delta": "worse"
    }  # fmt: skip
    named = verdicts(allow={"sparse_probing.auroc": 0.1, "sparse_probing.delta": 0.034})
    assert named == ok | {"sparse_probing.auroc": "ok", "sparse_probing.delta": "undecided"}


@pytest.mark.parametrize("margin", [0.01, 0.034, 0.1])
def test_one_margin_for_all_is_that_margin_for_each(margin: float):
    """Figures too, whichever way it is said; and p-values are those of a margin of the other metrics' own."""
    every = check(run(0.02), run(), allow=margin)
    each = {"sparse_probing.auroc": margin, "other.auroc": margin, "delta": margin}
    assert every == check(run(0.02), run(), allow={"*": margin}) == check(run(0.02), run(), allow=each)
    mixed = check(run(0.02), run(), allow={"sparse_probing.auroc": margin})
    by = {(f.task, f.metric): f for f in every.findings}
    (one,) = [f for f in mixed.findings if f.margin is not None]
    assert one.p == by["sparse_probing", "auroc"].p


def test_the_table_names_the_margins():
    plain = check(run(0.02), run())
    assert "allowed" not in to_text(plain, every=True)
    table = to_markdown(check(run(0.02), run(), allow={"delta": 0.1}))
    lines = [line for line in table.splitlines() if "sparse_probing delta" in line]
    assert lines
    assert all("| 0.100" in line for line in lines)
    assert "allowed" in table
    assert check(run(), run()).recipes == check(run(), run(), allow={}).recipes


@pytest.mark.parametrize(
    ("allow", "sentence"),
    [
        ({"dleta": 1}, "--allow names 'dleta', and no baseline scores it; did you mean delta"),
        ({"auroc": 1}, "--allow names 'auroc', which may be other.auroc or sparse_probing.auroc; name one of them"),
        ({"l0": 1}, "--allow names 'l0', which has no better direction and is not judged; leave it out"),
        ({"ratio": 1}, "--allow names 'ratio', which is not shown unasked and is not judged; give --metrics all too"),
        (
            {"delta": 1, "sparse_probing.delta": 2},
            "--allow names one metric twice, as delta and as sparse_probing.delta",
        ),
        ({"delta": -1.0}, "--allow of delta is -1.0; give a number that is not negative"),
        ({"delta": math.nan}, "--allow of delta is nan; give a number"),
        ({"delta": "much"}, "--allow of delta is much; give a number"),
        ("delta=1", "--allow is delta=1; give a number"),
    ],
)
def test_what_names_no_margin_gets_one_sentence(allow, sentence: str):
    with pytest.raises(SaebenchError) as error:
        check(run(), run(), allow=allow)
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)


def seeded(loss: float = 0.0, first: int = 1) -> list[Record]:
    """An SAE under three evaluation seeds that move all units together, so that they show noise of the evaluation."""
    shift = np.array([-0.01, 0.0, 0.01])
    auroc, delta = UNIT - loss * (1 + 0.1 * UNIT) + shift, UNIT + 2 * shift
    return [made_up("a", {"auroc": auroc, "delta": delta}, seeds=(first, first + 1, first + 2))]


def test_a_margin_that_no_loss_can_pass_is_told_with_the_least_that_one_can():
    """And what is told does let one pass."""
    loss = 0.002
    small = check(seeded(loss), seeded(), allow={"auroc": 0.01, "delta": 0.5})
    finding = next(f for f in small.findings if f.metric == "auroc")
    assert finding.verdict == "undecided"
    (told,) = small.margins
    number = re.fullmatch(r"--allow can pass no loss .*; give sparse_probing\.auroc=([\d.]+) or more", told)
    assert number is not None
    least = float(number[1])
    assert 0 < least - finding.threshold < 0.01 * finding.threshold
    for shown in (to_text(small), to_markdown(small).replace("\\", "")):
        assert told in shown
    enough = check(seeded(loss), seeded(), allow={"auroc": least + 2 * loss, "delta": 0.5})
    assert (enough.margins, [f.verdict for f in enough.findings]) == ([], ["ok", "ok"])
    assert check(seeded(loss), seeded()).margins == []


def test_the_least_margin_is_that_of_all_saes_and_above_the_size_that_was_asked_for():
    both = [*seeded(), *(dataclasses.replace(r, task=dataclasses.replace(r.task, name="other")) for r in run()[:1])]
    (told,) = check(both, both, allow=0.001, min_effect=0.01).margins
    names = ["other.auroc", "other.delta", "sparse_probing.auroc", "sparse_probing.delta"]
    assert re.findall(r"(\S+)=([\d.]+)", told) == [(name, "0.0101") for name in names]
    assert check(both, both, allow=0.0101, min_effect=0.01).margins == []
    assert check(both, both, allow=0.01, min_effect=0.01).margins == [told]


def test_of_too_few_units_no_margin_can_be_passed():
    few = [made_up("a", {"auroc": UNIT[:5]}, seeds=())]
    (told,) = check(few, few, allow=9.0).margins
    assert told == (
        "--allow can pass no loss of sparse_probing.auroc: fewer than 6 units, or no known noise; score more units"
    )
    assert check(few, few).margins == []


def test_a_margin_of_a_metric_without_a_headline_needs_all_metrics():
    assert check(run(), run(), allow={"ratio": 0.1}, metrics="all").status() == 0


def test_a_metric_that_could_not_be_judged_is_told_as_such():
    """Its margin is no fault of the call."""
    both: dict[str, np.ndarray] = {"auroc": UNIT, "delta": UNIT}
    for heads, beside in ((["auroc", "delta"], ()), (["auroc"], ("delta",))):
        lost = [made_up("a", {"auroc": UNIT}, seeds=(), headline=heads, beside=beside), run()[1]]
        earlier = [made_up("a", both, seeds=(), headline=heads, beside=beside), run()[1]]
        result = check(lost, earlier, allow={"delta": 0.1})
        assert result.problems
        assert "has no delta any more" in result.problems[0]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["much"], "--allow 'much' is neither a number nor metric=number"),
        (["delta="], "--allow 'delta=' is neither"),
        (["=1"], "--allow '=1' is neither"),
        (["1", "2"], "--allow is given twice for all metrics"),
        (["delta=1", "delta=1"], "--allow is given twice for delta"),
    ],
)
def test_words_that_are_no_margins(words: list[str], sentence: str):
    with pytest.raises(SaebenchError) as error:
        parsed(words)
    assert str(error.value).startswith(sentence)


def test_words_of_a_command_line():
    assert parsed([]) == {}
    assert parsed(["0.01", " delta = 2e-2 ", "t[k=2].auroc=1"]) == {"*": 0.01, "delta": 0.02, "t[k=2].auroc": 1.0}


def test_on_the_command_line_and_in_python(tmp_path: Path):
    for name, loss in (("old", 0.0), ("new", 0.02)):
        for record in run(loss):
            record.save(tmp_path / name)
    words = ["check", str(tmp_path / "new"), "--against", str(tmp_path / "old")]
    assert CliRunner().invoke(app, words).exit_code == 1
    allowed = ["--allow", "0.01", "--allow", "delta=0.1", "--allow", "sparse_probing.auroc=0.1"]
    done = CliRunner().invoke(app, [*words, *allowed, "--strict"])
    assert done.exit_code == 0, done.output
    refused = CliRunner().invoke(app, [*words, "--allow", "dleta=1"])
    assert refused.exit_code == 2
    assert refused.output.startswith("Error: --allow names 'dleta'")
    allow = {"*": 0.01, "delta": 0.1, "sparse_probing.auroc": 0.1}
    assert sb.check(tmp_path / "new", tmp_path / "old", allow=allow).status(strict=True) == 0
