"""Sentences on groups: against controls, the factors of a design, units that would decide."""

import re

import numpy as np
import pytest

from saebench_lite.records.record import Record
from saebench_lite.report.group_sentences import design, more_units, sentences
from saebench_lite.report.leaderboard import leaderboard_text
from saebench_lite.report.ranking import field
from saebench_lite.stats.contrasts import level_contrasts
from saebench_lite.stats.ranks import pseudo_means
from tests.helpers.record_factory import made_up


def panel(units: int = 12, gain: float = 0.2, seed: int = 0) -> list[Record]:
    """Two architectures x three L0s, better by `gain` at L0 8, and a random control below all."""
    draw = np.random.default_rng(seed)
    unit = draw.normal(0.5, 0.1, size=(units, 1))
    records = [
        made_up(
            f"{a}_{k}",
            {"auroc": unit + 0.3 + (gain if k == 8 else 0.0) + 0.03 * draw.normal(size=(units, 1))},
            seeds=(1,),
            meta={"architecture": a, "recipe": {"l0": k}},
        )
        for a in ("relu", "topk")
        for k in (8, 16, 32)
    ]
    control = made_up("random_topk", {"auroc": unit + 0.03 * draw.normal(size=(units, 1))}, kind="control", seeds=(1,))
    return [*records, control]


def test_group_factors_and_units_that_would_decide():
    group, l0, architecture, pair = sentences(panel(), "auroc")[1:]
    assert re.fullmatch(
        r"The 6 SAEs as a group against the best random control \(random_topk\): \+0\.3\d+ \[.*\], one-sided p <0\.001",
        group,
    )
    assert re.search(
        r"^L0, averaged over architectures.*8 better than (16|32) by 0\.[12]\d+ \(p (<0\.001|0\.00\d)\)", l0
    )
    assert l0.count("better than") == 2
    assert re.fullmatch(
        "Architecture, averaged over L0: no two of (relu, topk|topk, relu) can be told apart", architecture
    )
    assert re.fullmatch(r"Best two \(\w+_8 and \w+_8\): undecided; (about [\d,]+ more|more than 10,000) units .*", pair)


def test_sentences_stand_below_the_table():
    assert sentences(panel(), "auroc")[1] in leaderboard_text(panel())
    few, many = sentences(panel(29), "auroc"), sentences(panel(30), "auroc")
    assert few[0] == "No ranks by sparse_probing auroc: 29 units are too few to order SAEs (from 30)"
    assert many[0].startswith("The 6 SAEs as a group")
    assert many[0] in leaderboard_text(panel(30))
    none = "No tests and no ranks by sparse_probing auroc: 11 units are too few (tests from 12, ranks from 30)"
    assert sentences(panel(11), "auroc") == [none]
    assert (
        sentences(panel(12), "auroc")[0]
        == "No ranks by sparse_probing auroc: 12 units are too few to order SAEs (from 30)"
    )
    assert sentences(panel()[:1], "auroc") == []


def test_a_control_that_was_partly_trained_has_a_sentence_of_its_own():
    draw = np.random.default_rng(3)
    half = made_up(
        "soft_frozen_decoder",
        {"auroc": draw.normal(0.45, 0.1, size=(12, 1))},
        kind="control",
        seeds=(1,),
        meta={"recipe": {"frozen": "soft_decoder"}},
    )
    easier = made_up(
        "frozen_decoder",
        {"auroc": draw.normal(0.2, 0.1, size=(12, 1))},
        kind="control",
        seeds=(1,),
        meta={"recipe": {"frozen": "decoder"}},
    )
    random, *trained = sentences([*panel(), easier, half], "auroc")[1:4]
    assert "the best random control (random_topk)" in random
    hardest_first = ("soft_frozen_decoder", "frozen_decoder")
    for sentence, name in zip(trained, hardest_first, strict=True):
        assert sentence.startswith(
            f"The 6 SAEs as a group against {name}, of which a part was trained on these texts: +0."
        )
    assert "of which a part" not in " ".join(sentences(panel(), "auroc"))


def test_no_design_without_metadata():
    draw = np.random.default_rng(0)
    bare = [made_up(r.subject.name, {"auroc": draw.random((12, 1))}, seeds=(1,)) for r in panel()]
    assert not any("averaged over" in s for s in sentences(bare, "auroc"))


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"architecture": "topk", "k": 8}, ("topk", "8")),
        ({"architecture": "relu", "recipe": {"l0": 12.5}, "l0": 99}, ("relu", "12.5")),
        ({"architecture": "jumprelu", "published_l0": 71}, ("jumprelu", "71")),
        ({"architecture": "relu"}, None),
        ({"k": 8}, None),
    ],
)
def test_design_is_what_the_metadata_say(meta, expected):
    assert design(made_up("a", meta=meta)) == expected


def test_with_few_units_a_contrast_is_told_later_than_at_five_percent():
    told = set()
    for seed in range(60):
        records = panel(gain=0.012, seed=seed)
        f = field(records, "auroc")
        assert f is not None
        u = pseudo_means(f.x, f.w)[:, f.saes]
        known = [design(f.records[i]) for i in f.saes]
        p = min(c.p for c in level_contrasts(u, [d[1] for d in known if d], [d[0] for d in known if d]))
        (l0,) = [s for s in sentences(records, "auroc") if s.startswith("L0, averaged")]
        assert ("better than" in l0) == (p <= 0.01)
        told.add((p <= 0.01) + (p <= 0.05))
    assert told == {0, 1, 2}


def test_units_that_would_decide_are_for_the_level_of_the_marks():
    records = panel(40, gain=0.01)
    f = field(records, "auroc")
    assert f is not None
    u, mean = pseudo_means(f.x, f.w), f.mean
    first, second = sorted(f.saes, key=lambda i: -mean[i])[:2]
    d = u[:, first] - u[:, second]
    assert f"undecided; {more_units(d, 0.03)} units" in sentences(records, "auroc")[-1]
    assert more_units(d, 0.03) != more_units(d, 0.05)
