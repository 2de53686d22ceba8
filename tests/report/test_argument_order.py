"""Which subject is named first changes the sign of a comparison and nothing else."""

from __future__ import annotations

import dataclasses
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from saebench_lite.records.arrays import stack
from saebench_lite.records.record import Record, read_all
from saebench_lite.report.compare import Comparison, compare
from saebench_lite.report.compare_text import verdict
from saebench_lite.report.regression import check
from tests.helpers.record_factory import METRICS, made_up

ROOT = Path(__file__).parents[2]
SHIPPED, _ = read_all(ROOT / "results" / "smollm2")
SAES = ["batchtopk_4096_l0_32", "gated_4096_l0_32", "jumprelu_4096_l0_32", "topk_4096_l0_128"]
OTHER = {"better": "worse", "worse": "better"}


def listed(record: Record, order: list[int]) -> Record:
    """The record with its units in another order."""
    per_unit = {}
    for name, stored in record.per_unit.items():
        assert stored.weights is not None
        rows = {
            "units": [stored.units[i] for i in order],
            "values": [stored.values[i] for i in order],
            "weights": [stored.weights[i] for i in order],
        }
        per_unit[name] = dataclasses.replace(stored, **rows)
    return dataclasses.replace(record, per_unit=per_unit)


def drawn(name: str, seed: int) -> Record:
    """Skewed scores about 1 on 20 units, a fifth of them missing; each metric has values of its own."""
    draw = np.random.default_rng(seed)
    values = {m: 0.4 + draw.exponential(0.8, size=(20, 3)) for m in METRICS}
    for table in values.values():
        table[draw.random(table.shape) < 0.2] = np.nan
    return made_up(name, values, weights=draw.gamma(8.0, size=(20, 3)))


def mirrored(x: Comparison, y: Comparison) -> None:
    """Holds two comparisons to be one with its subjects exchanged."""
    p, q = x.paired, y.paired
    assert (x.task, x.metric, x.a, x.b) == (y.task, y.metric, y.b, y.a)
    assert (p.difference, p.p, p.p_permutation) == (-q.difference, q.p, q.p_permutation)
    assert (p.low, p.high) == (None if q.high is None else -q.high, None if q.low is None else -q.low)
    assert (p.above, p.equal, p.below, p.n) == (q.below, q.equal, q.above, q.n)
    assert (x.p_holm, x.mrd) == (y.p_holm, y.mrd)
    assert verdict(x) == OTHER.get(verdict(y), verdict(y))


@pytest.mark.parametrize(("a", "b"), list(combinations(SAES, 2)))
def test_every_metric_of_shipped_records(a: str, b: str):
    """Absorption lists the letters of each SAE in an order of its own."""
    forth, back = (compare(SHIPPED, SHIPPED, *pair, "all")[0] for pair in ((a, b), (b, a)))
    assert {r.task for r in forth} > {"absorption", "sparse_probing"}
    for x, y in zip(forth, back, strict=True):
        mirrored(x, y)


@pytest.mark.parametrize("seed", range(8))
def test_every_direction_with_units_in_any_order_and_values_missing(seed: int):
    a, b = drawn("a", 2 * seed), drawn("b", 2 * seed + 1)
    b = listed(b, np.random.default_rng(seed).permutation(20).tolist())
    forth, back = compare([a], [b], "a", "b", "all")[0], compare([b], [a], "b", "a", "all")[0]
    assert {r.better for r in forth} == set(METRICS.values())
    for x in forth:
        mirrored(x, next(y for y in back if y.metric == x.metric))


def test_the_gate_pairs_units_alike_whichever_run_is_new():
    """A loss from a to b and a gain from b to a have one p-value."""
    a = made_up("a", {"auroc": 0.4 + np.random.default_rng(0).exponential(0.1, size=(20, 3))})
    b = listed(drawn_like(a), np.random.default_rng(1).permutation(20).tolist())
    (forth,), (back,) = check([b], [a]).findings, check([a], [b]).findings
    assert (forth.gain, forth.p) == (-back.gain, back.p)


def drawn_like(record: Record) -> Record:
    """Another SAE of the same name on the same units."""
    values = 0.4 + np.random.default_rng(7).exponential(0.1, size=(20, 3))
    weights = np.random.default_rng(8).gamma(8.0, size=(20, 3))
    return made_up(record.subject.name, {"auroc": values}, weights=weights, fingerprint="other")


def test_a_table_stacks_units_alike_whichever_record_is_first():
    """Its tests draw units by their place."""
    a, b = drawn("a", 0), listed(drawn("b", 1), list(range(19, -1, -1)))
    forth, back = stack([a, b], "auroc"), stack([b, a], "auroc")
    assert forth is not None
    assert back is not None
    for x, y in zip(forth, back, strict=True):
        assert (x == y[::-1]).all()
