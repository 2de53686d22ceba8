"""Metrics beside the headline: shown, compared, judged and exported like it, ranked by after it."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from saebench_lite.records.record import Record
from saebench_lite.records.verdicts import Verdict, Verdicts
from saebench_lite.report.compare import compare
from saebench_lite.report.eee_json import eee_results
from saebench_lite.report.exports import export
from saebench_lite.report.leaderboard import leaderboard_text, tables
from saebench_lite.report.pareto import dominated
from saebench_lite.report.picked_latents import picked_latents
from saebench_lite.report.regression import check
from saebench_lite.stats.ranks import above_control
from tests.helpers.record_factory import made_up

UNIT = np.linspace(0.4, 0.6, 40)[:, None]


def beside(name: str = "a", shift: float = 0.0, **changes) -> Record:
    """A record without a headline that shows auroc beside it, and scores a ratio that nothing shows."""
    table = {"ratio": UNIT, "auroc": UNIT + shift}
    return made_up(name, table, headline=[], beside=("auroc",), seeds=(), **changes)


def test_what_stands_beside_is_compared_and_exported(tmp_path: Path):
    record = beside()
    rows, missing = compare([record], [beside("b", 0.1)], "a", "b")
    assert [r.metric for r in rows] == ["auroc"]
    assert not missing
    (log,) = map(json.loads, eee_results([record]).values())
    assert [r["metric_config"]["metric_name"] for r in log["evaluation_results"]] == ["auroc"]
    (card,) = export([record], "hf", tmp_path)
    assert card.read_text().count("record:") == 1
    assert "auroc" in card.read_text()
    assert "auroc 0.5" in repr(record)
    assert picked_latents([record], "a", "sparse_probing").picked[0].metric == "auroc"


def test_what_stands_beside_is_judged_whichever_side_calls_it_a_headline():
    worse, good = beside(shift=-0.3), beside()
    head = dataclasses.replace(good, task=dataclasses.replace(good.task, headline=["auroc"], beside=()))
    assert check([worse], [good]).status() == 1
    assert check([worse], [head]).status() == 1
    assert check([good], [head]).status() == 0
    assert check([worse], [good], allow={"auroc": 0.5}).status() == 0
    with pytest.raises(Exception, match="'ratio', which is not shown unasked"):
        check([worse], [good], allow={"ratio": 0.5})
    one = [beside(shift=s) for s in (0.0, -0.1)]
    few = [dataclasses.replace(r, per_unit={m: cut(v) for m, v in r.per_unit.items()}) for r in one]
    scored = [
        dataclasses.replace(
            r, scores={m: dataclasses.replace(s, value=r.per_unit[m].values[0][0]) for m, s in r.scores.items()}
        )
        for r in few
    ]
    assert "auroc changed, and one unit without standard errors" in " ".join(check([scored[1]], [scored[0]]).problems)


def cut(values):
    """The first unit alone."""
    first = {"units": values.units[:1], "values": values.values[:1]}
    return dataclasses.replace(values, **first, weights=None if values.weights is None else values.weights[:1])


def shown(verdicts: dict[str, Verdict]) -> tuple[list[str], str, str]:
    """Columns, what ranks and the text of a table whose headline is auroc, with ratio and f1 beside it."""
    values = {m: UNIT for m in ("auroc", "f1", "delta")}
    record = made_up(
        "a",
        values,
        metrics={"auroc": "higher", "f1": "higher", "delta": "lower"},
        headline=["auroc"],
        beside=("f1", "delta"),
        seeds=(),
    )
    of = Verdicts({("sparse_probing", 1, m): v for m, v in verdicts.items()})
    (table,) = tables([record], of)
    assert table.ranking is not None
    return [c.metric for c in table.columns], table.ranking.metric, leaderboard_text([record], verdicts=of)


@pytest.mark.parametrize(
    ("verdicts", "columns", "ranking"),
    [
        ({}, ["auroc", "f1", "delta"], "auroc"),
        ({"auroc": "open", "f1": "passes"}, ["auroc", "f1", "delta"], "auroc"),
        ({"auroc": "passes", "f1": "misses"}, ["auroc", "delta"], "auroc"),
        ({"auroc": "misses"}, ["f1", "delta"], "f1"),
        ({"auroc": "misses", "f1": "open"}, ["f1", "delta"], "delta"),
    ],
)
def test_the_headline_ranks_and_what_is_beside_it_only_where_it_misses(verdicts, columns, ranking):
    got, ranked, text = shown(verdicts)
    assert got == columns
    assert ranked == ranking
    named = ", ".join(f"sparse_probing {m}" for m in columns if m != "auroc")
    assert f"Beside the headlines, for comparison or to read these by: {named}." in text


def near(low: float, high: float, pairs: list[list[int]]) -> dict[str, np.ndarray]:
    """Scores of `above` and `below` [units, 1], whose first test of the pairs has a p between low and high."""
    for seed in range(1000):
        draw = np.random.default_rng(seed)
        x = draw.normal(size=40) + np.array([0.3, 0.0])[:, None] + 0.6 * draw.normal(size=(2, 40))
        if low < above_control(x, np.ones_like(x), np.array(pairs))[0] < high:
            return {"above": x[0][:, None], "below": x[1][:, None]}
    raise AssertionError("no such scores")


@pytest.mark.parametrize(("low", "high", "marked"), [(0.02, 0.03, True), (0.031, 0.05, False)])
def test_marks_and_the_front_are_asked_at_three_percent(low, high, marked):
    x = near(low, high, [[0, 1]])
    table = [
        made_up("sae", {"auroc": x["above"]}, seeds=()),
        made_up("random_topk", {"auroc": x["below"]}, kind="control", seeds=()),
    ]
    row = next(r for r in json.loads(leaderboard_text(table, "json")) if r["subject"] == "sae")
    assert row["above_control"] == int(marked)
    x = near(low, high, [[0, 1], [1, 0]])
    saes = [made_up(name, {"auroc": values}, seeds=()) for name, values in x.items()]
    assert dominated({"auroc": saes}, {"above": 8.0, "below": 8.0}) == {
        "above": [],
        "below": ["above"] if marked else [],
    }
