"""Recipes of several training seeds: grouping, figures, the extra table."""

import numpy as np
import pytest

from saebench_lite.records.record import Record
from saebench_lite.records.training import recipe_key, training_seed
from saebench_lite.report.leaderboard import leaderboard_text
from saebench_lite.report.recipes import common_name, recipes
from tests.helpers.record_factory import made_up


def trained(name: str, seed: int, level: float, units: int = 40, **meta: object) -> Record:
    draw = np.random.default_rng([seed, int(1000 * level)])
    unit = np.random.default_rng(0).normal(0.5, 0.1, size=(units, 1))
    facts = {"architecture": name, "recipe": {"l0": 8, "seed": seed}, "seconds": seed * 7, "held_out": {"l0": seed}}
    facts |= {"training_curve": {"l0": [seed]}}
    values = {"auroc": unit + level + 0.01 * draw.normal() + 0.01 * draw.normal(size=(units, 1))}
    return made_up(f"{name}_8_seed_{seed}", values, seeds=(1,), meta=facts | meta)


def panel(units: int = 40) -> list[Record]:
    return [trained(n, s, m, units) for n, m in (("topk", 0.5), ("relu", 0.1)) for s in (0, 1, 2)]


def test_recipes_are_saes_that_differ_in_the_training_seed_alone():
    first, second = panel()[:2]
    assert recipe_key(first.subject.meta) == recipe_key(second.subject.meta)
    assert recipe_key(first.subject.meta) != recipe_key(trained("topk", 0, 0.5, hook="other").subject.meta)
    assert (training_seed(first.subject.meta), training_seed(second.subject.meta)) == (0, 1)
    assert training_seed({"seed": 4}) == 4
    assert training_seed({}) is None


def test_figures_of_a_recipe():
    top, low = recipes([*panel(), trained("topk", 2, 0.5, units=40)], "auroc")
    values = np.array([r.scores["auroc"].value for r in panel()[:3]])
    assert (top.name, top.seeds, low.name) == ("topk_8", 3, "relu_8")
    assert top.mean == pytest.approx(values.mean())
    assert top.sd == pytest.approx(values.std(ddof=1))
    assert (top.rank, low.rank) == ((1, 1), (2, 2))


def test_one_seed_takes_part_and_few_units_are_not_ranked():
    single = trained("gated", 0, 0.3)
    assert [(r.name, r.sd is None, r.rank) for r in recipes([*panel(), single], "auroc")] == [
        ("topk_8", False, (1, 1)),
        ("gated_8_seed_0", True, (2, 2)),
        ("relu_8", False, (3, 3)),
    ]
    assert recipes(panel()[::3], "auroc") == []
    assert [r.rank for r in recipes(panel(12), "auroc")] == [None, None]


def test_the_table_stands_only_where_a_recipe_has_two_seeds():
    text = leaderboard_text(panel())
    assert "| topk_8   | 3" in text
    assert "Recipes: SAEs whose metadata agree on all but the training seed" in text
    assert "Recipes:" not in leaderboard_text(panel()[::3])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["topk_l0_32", "topk_l0_32_seed_1", "topk_l0_32_seed_2"], "topk_l0_32"),
        (["a_l0_32_seed_1", "a_l0_32_seed_2"], "a_l0_32"),
        (["run-10", "run-11"], "run"),
        (["x", "y"], "x"),
        (["alone_3"], "alone_3"),
    ],
)
def test_a_recipe_is_called_what_its_names_share(names, expected):
    assert common_name(names) == expected
