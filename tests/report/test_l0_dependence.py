"""A sentence on how a metric moves with L0 within an architecture."""

import dataclasses

import numpy as np
import pytest

from saebench_lite.records.record import Record
from saebench_lite.report.l0_dependence import l0_dependence
from tests.helpers.record_factory import made_up


def record(name: str, value: float, **meta: object) -> Record:
    made = made_up(name, {"auroc": np.full((4, 1), value)}, seeds=(1,))
    return dataclasses.replace(made, subject=dataclasses.replace(made.subject, meta=meta))


def family(architecture: str, values: dict[int, float]) -> list[Record]:
    return [record(f"{architecture}{k}", v, architecture=architecture, l0=k) for k, v in values.items()]


def test_one_architecture_whose_score_falls_with_l0():
    (text,) = l0_dependence(family("topk", {8: 0.6, 32: 0.5, 128: 0.4}), "auroc", {"topk8": 7.5})
    assert text == (
        "auroc against L0 at fixed architecture: Spearman -1.000"
        " (mean over 1 architecture with three levels or more); topk 0.600, 0.500, 0.400 at L0 7.5, 32, 128"
    )


def test_mean_over_architectures_is_not_the_correlation_over_all():
    # each rises with L0, and the one at large L0 lies below the other
    records = [*family("relu", {8: 0.6, 16: 0.7, 32: 0.8}), *family("topk", {64: 0.1, 128: 0.2, 256: 0.3})]
    (text,) = l0_dependence(records, "auroc", {})
    assert "Spearman 1.000 (mean over 2 architectures with three levels or more)" in text


def test_two_levels_have_scores_and_no_correlation():
    (text,) = l0_dependence(family("topk", {8: 0.6, 16: 0.7}), "auroc", {})
    assert text == "auroc against L0 at fixed architecture: topk 0.600, 0.700 at L0 8, 16"


def test_seeds_of_one_recipe_are_one_point():
    records = family("topk", {8: 0.5, 16: 0.6})
    (before,) = l0_dependence(records, "auroc", {})
    records += [record("again", 0.2, architecture="topk", l0=8)]
    (after,) = l0_dependence(records, "auroc", {})
    assert "0.500, 0.600 at" in before
    assert "0.350, 0.600 at" in after


def test_many_architectures_are_told_in_short_and_order_of_records_is_nothing():
    records = [r for i in range(5) for r in family(f"a{i}", {8: 0.5, 16: 0.5, 32: 0.5 + 0.01 * i})]
    (text,) = l0_dependence(records, "auroc", {})
    assert text.endswith(", and 2 more")
    assert "mean over 4 architectures" in text  # one is flat
    assert l0_dependence(records[::-1], "auroc", {}) == [text]


@pytest.mark.parametrize("records", [[], family("topk", {8: 0.5}), [record("x", 0.5), record("y", 0.4)]])
def test_nothing_is_said_where_nothing_is_known(records):
    assert l0_dependence(records, "auroc", {}) == []
