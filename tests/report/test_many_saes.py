"""Folders of a thousand SAEs: what grows with the square of the SAEs is left out, with a sentence."""

from typing import Any

import numpy as np
import pytest

from saebench_lite.records.record import Record
from saebench_lite.records.types import Kind
from saebench_lite.report import ranking
from saebench_lite.report.leaderboard import leaderboard_text
from saebench_lite.report.pareto import dominated
from saebench_lite.report.ranking import MOST_SAES, field, rank_metric
from saebench_lite.stats import bootstrap_t
from saebench_lite.stats.ranks import same_scores
from tests.helpers.record_factory import made_up

UNITS = 32


def made(n: int, kind: Kind = "sae", prefix: str = "s", **changes: Any) -> list[Record]:
    draw = np.random.default_rng(len(prefix) + n)
    return [
        made_up(f"{prefix}{i:04}", {"auroc": draw.normal(0.7, 0.1, (UNITS, 1))}, kind=kind, seeds=(42,), **changes)
        for i in range(n)
    ]


@pytest.fixture
def columns(monkeypatch):
    """Columns of every bootstrap, which is what takes the time and memory."""
    seen: list[int] = []
    for module in (bootstrap_t, __import__("saebench_lite.stats.ranks", fromlist=["x"])):
        real = module.studentised
        monkeypatch.setattr(module, "studentised", lambda u, real=real: seen.append(u.shape[1]) or real(u))
    return seen


def test_up_to_a_hundred_are_ranked_and_beyond_only_set_against_their_controls(columns):
    others = [*made(2, "control", "random_topk"), *made(2, "baseline", "probe")]
    few = rank_metric([*made(12), *others], "auroc")
    assert sum(p.rank is not None for p in few.of.values()) == 12
    assert "No ranks" not in (few.note or "")
    assert max(columns) >= 66  # pairs of 12
    columns.clear()
    many = rank_metric([*made(MOST_SAES + 1), *others], "auroc")
    assert not any(p.rank or p.tied_with_best or p.beside for p in many.of.values())
    assert sum(p.above_control is not None for p in many.of.values()) == MOST_SAES + 1
    assert many.note is not None
    assert many.note.startswith(f"No ranks and no front: {MOST_SAES + 1} SAEs are more than {MOST_SAES}")
    assert max(columns) <= MOST_SAES + 1


def test_the_front_is_left_out_too(columns):
    l0 = {f"s{i:04}": float(i + 1) for i in range(MOST_SAES + 1)}
    assert dominated({"auroc": made(MOST_SAES + 1)}, l0) == {}
    assert columns == []
    assert dominated({"auroc": made(5)}, l0)


def test_units_that_a_control_lacks_count_for_the_saes_all_the_same():
    draw = np.random.default_rng(1)
    base, l0 = draw.normal(size=(UNITS, 1)), {"a": 5.0, "b": 9.0, "c": 3.0}
    rows = {"a": base + 1, "b": base + draw.normal(scale=0.2, size=(UNITS, 1))}
    few = np.where(np.arange(UNITS)[:, None] < 3, base, np.nan)
    saes = [made_up(n, {"auroc": x}, seeds=(42,)) for n, x in rows.items()]
    control = made_up("c", {"auroc": few}, kind="control", seeds=(42,))
    assert dominated({"auroc": saes}, l0) == {"a": [], "b": ["a"]}
    assert dominated({"auroc": [*saes, control]}, l0) == {"a": [], "b": ["a"]}


def test_a_table_says_why_it_has_no_ranks(monkeypatch):
    monkeypatch.setattr(ranking, "MOST_SAES", 3)
    text = leaderboard_text(made(4))
    assert "No ranks and no front: 4 SAEs are more than 3" in text
    assert "| rank" not in text
    assert "No ranks" not in leaderboard_text(made(3))


def test_twins_are_found_as_by_comparing_each_with_each():
    draw = np.random.default_rng(0)
    base = draw.normal(size=(6, UNITS))
    base[:3, 0] = 1.0  # equal where rows are sorted
    rows = base[draw.integers(6, size=40)] * (1 + draw.choice([0.0, 3e-7, 5e-6], size=(40, 1)))
    kinds = draw.choice(["sae", "control", "baseline"], size=40)
    named = [
        made_up(f"n{i:02}", {"auroc": x[:, None]}, kind=k, seeds=(42,))
        for i, (x, k) in enumerate(zip(rows, kinds, strict=True))
    ]
    got = field(named, "auroc")
    assert got is not None
    saes: list[int] = []
    twin: dict[int, int] = {}
    for i in sorted(range(40), key=lambda i: kinds[i] != "sae"):
        first = next((j for j in saes if same_scores(got.x[i], got.x[j])), None)
        if first is not None:
            twin[i] = first
        elif kinds[i] == "sae":
            saes.append(i)
    assert (got.saes, got.twin) == (sorted(saes), twin)


def test_of_equal_controls_the_first_by_name_is_the_scales_end_whatever_their_order():
    table = np.linspace(0.2, 0.4, UNITS)[:, None]
    controls = [made_up(n, {"auroc": table}, kind="control", seeds=(42,)) for n in ("zeta", "alpha", "mu")]
    others = [*made(3), made_up("probe", {"auroc": table + 0.5}, kind="baseline", seeds=(42,))]
    assert {rank_metric([*order, *others], "auroc").control for order in (controls, controls[::-1])} == {"alpha"}
