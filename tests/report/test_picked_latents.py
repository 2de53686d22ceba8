"""One subject on one task, label by label."""

import numpy as np
import pytest

from saebench_lite.errors import SaebenchError
from saebench_lite.records.metric import Better
from saebench_lite.records.record import Record
from saebench_lite.report.picked_latents import (
    WIDTH,
    Picked,
    latents_of,
    picked_latents,
    pooling_of,
    text_line,
    to_text,
)
from saebench_lite.stats.single_unit import interval_over_texts
from tests.helpers.record_factory import made_up

NAME = "average_precision_max"
METRICS: dict[str, Better] = {NAME: "higher", "auroc_k1_mean": "higher"}
VALUES = {NAME: np.array([[0.5, 0.6], [0.2, 0.2]]), "auroc_k1_mean": np.array([[0.9, 0.9], [0.7, 0.7]])}
PICKS: dict[str, object] = {
    "detector": {"u0": {"max 42": 7, "max 43": 7, "mean 42": 1}, "u1": {"max 42": 3, "max 43": 4}},
    "best_latent": {"u0": {"mean 42": {"latent": 5, "train_auroc": 0.9}, "mean 43": {"latent": 5, "train_auroc": 0.9}}},
}


def record(name: str = "sae", shift: float = 0.0, **other):
    values = {m: v + shift for m, v in VALUES.items()}
    errors = {m: np.full_like(v, 0.04) for m, v in VALUES.items()}
    return made_up(name, values, seeds=(42, 43), metrics=METRICS, errors=errors, **other)


RECORDS = [
    record(diagnostics=PICKS),
    record("matched_random of sae", -0.15, kind="control"),
    record("logistic", 0.05, kind="baseline"),
    *(record(f"a baseline with a rather long name {i}", -0.01 * i, kind="baseline") for i in range(4)),
]


def one(records: list[Record], *asked: str) -> Picked:
    """The only one that is shown."""
    (picked,) = picked_latents(records, *asked).picked
    return picked


def test_latents_are_those_of_the_metrics_pooling():
    assert latents_of(RECORDS[0], NAME, "u0") == [7, 7]
    assert latents_of(RECORDS[0], "average_precision_mean", "u0") == [1]
    assert latents_of(RECORDS[0], "auroc_k1_mean", "u0") == [5, 5]
    assert latents_of(RECORDS[0], "auroc_k1_last", "u0") == []
    assert latents_of(RECORDS[0], "auroc_named", "u0") == []
    assert latents_of(RECORDS[1], NAME, "u0") == []
    assert [pooling_of(m) for m in (NAME, "auroc_k1_mean", "auroc_k5_last", "f1")] == ["max", "mean", "last", "max"]


def test_labels_beside_control_and_baselines():
    picked = one(RECORDS, "sae", "sparse_probing")
    assert picked.metric == NAME
    assert picked.control == "matched_random of sae"
    first, second = picked.labels
    assert (first.name, first.latents, first.score) == ("u0", [7, 7], pytest.approx(0.55))
    assert (first.low, first.high) == pytest.approx(interval_over_texts(0.55, 0.04))
    assert first.control == pytest.approx(0.40)
    assert first.baselines["logistic"] == pytest.approx(0.60)
    assert first.above_control is True  # z = 2.65, p = .004, twice that by Holm
    assert second.latents == [3, 4]
    alone = one([RECORDS[0]], "sae", "sparse_probing", "auroc_k1_mean")
    assert alone.control is None
    assert alone.labels[0].above_control is None


def test_the_table_fits_and_names_what_does_not():
    text = to_text(one(RECORDS, "sae", "sparse_probing"))
    assert max(map(len, text.split("\n\n")[1].splitlines())) <= WIDTH
    assert "logistic" in text
    assert "not shown for width: a baseline with a rather long name" in text
    assert "3 (1), 4 (1)" in text
    assert "control: matched_random of sae" in text
    assert len(text_line(1.5, True, "a\nlong\ttext " * 50)) == WIDTH
    assert text_line(-1.5, False, "short") == "     -1.500  no   short"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("sea", "sparse_probing"), "subject called 'sea' here; did you mean sae"),
        (("sae", "sparse_probin"), "task called 'sparse_probin' here; did you mean sparse_probing"),
        (("sae", "sparse_probing", "auroc_k1_men"), "did you mean auroc_k1_mean"),
        (("sae", "xyzzy"), "there are sparse_probing"),
    ],
)
def test_a_wrong_name_names_the_nearest(words, sentence):
    with pytest.raises(SaebenchError, match=sentence):
        picked_latents(RECORDS, *words)


def test_a_failed_record_says_why():
    with pytest.raises(SaebenchError, match=r"failed on sparse_probing at m · .*: it broke"):
        picked_latents([made_up("sae", status="failed")], "sae", "sparse_probing")


def test_labels_of_unlike_weight_add_up_to_the_score():
    """Letters of absorption, say, of which a record tells no latents."""
    values, weights = np.array([[0.5, 0.7], [0.2, np.nan], [0.9, 0.1]]), np.array([[3.0, 1.0], [2.0, 9.0], [0.0, 0.0]])
    held = made_up("sae", {"auroc": values}, seeds=(42, 43), weights=weights)
    picked = one([held], "sae", "sparse_probing")
    assert [(label.name, label.share) for label in picked.labels] == [("u0", 4 / 6), ("u1", 2 / 6)]
    assert sum(label.share * label.score for label in picked.labels) == pytest.approx(held.scores["auroc"].value)
    lines = to_text(picked).splitlines()
    assert lines[2].split() == ["label", "score", "weight"]
    assert lines[3].split() == ["u0", "0.550", "66.7%"]
    assert lines[-1] == "weight: share in the score, 0.433"
    assert "latent" not in to_text(picked)
    assert "weight" not in to_text(one(RECORDS, "sae", "sparse_probing"))


def test_labels_stand_by_name():
    held = made_up("sae", {"auroc": np.arange(12.0)[:, None]}, seeds=())
    names = [label.name for label in one([held], "sae", "sparse_probing").labels]
    assert names == [f"u{i}" for i in range(12)]


def test_each_site_and_setting_stands_under_its_heading():
    """The newest alone was shown, of whichever model it was, and nothing at all where that one had failed."""
    records = [
        record(hook="h1", date="2025-01-01T00:00:00Z"),
        record(hook="h2", shift=-0.2, date="2025-02-01T00:00:00Z", settings={"k": 1}),
        record(hook="h2", shift=-0.1, date="2025-03-01T00:00:00Z", settings={"k": 2}),
        record(hook="h2", shift=0.1, date="2025-05-01T00:00:00Z", settings={"k": 1}),
        made_up("sae", hook="h3", date="2025-04-01T00:00:00Z", status="failed", settings={"k": 1}, seeds=(42, 43)),
    ]
    shown = picked_latents(records, "sae", "sparse_probing")
    at = {p.heading: p.labels[0].score for p in shown.picked}
    assert {heading: round(score, 2) for heading, score in at.items()} == {
        "m · h1 · float32 · data d0 · k none": 0.55,
        "m · h2 · float32 · data d0 · k 1": 0.65,
        "m · h2 · float32 · data d0 · k 2": 0.45,
    }
    assert shown.missing == ["sae is failed on sparse_probing at m · h3 · float32 · data d0 · k 1: it broke"]
    assert [p.heading for p in picked_latents(records, "sae", "sparse_probing", None, "h2").picked] == [*at][1:]
    assert to_text(shown.picked[0]).startswith(f"sae · sparse_probing · {next(iter(at))}\n")
    with pytest.raises(SaebenchError, match="no site has 'h4' in its title; choose from m · h1"):
        picked_latents(records, "sae", "sparse_probing", None, "h4")


def test_a_metric_is_named_as_plots_name_it_too():
    assert one(RECORDS, "sae", "sparse_probing", "sparse_probing.auroc_k1_mean").metric == "auroc_k1_mean"
