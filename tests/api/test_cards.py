"""What a card, a metric or a task may not be: a run would compute it all and write records that nobody can read."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import saebench_lite as sb

METRIC: dict[str, Any] = {"name": "a", "meaning": "what a is", "better": "higher"}
CARD: dict[str, Any] = {
    "name": "t",
    "version": 1,
    "description": "d",
    "source": "s",
    "headline": ("a",),
    "metrics": (sb.Metric(**METRIC),),
}


class Bare:
    k: int = 1


@dataclass(frozen=True)
class Config:
    k: int = 1


class Undecorated(Config):
    more: int = 2


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"better": "up"}, "metric 'a': better is 'up', not one of higher, lower, one, neither"),
        ({"construct": "foo"}, "metric 'a': construct is 'foo', not one of recovery"),
        ({"chance": float("nan")}, "metric 'a': chance is nan, not a finite number"),
        ({"lower_bound": "0"}, "metric 'a': lower_bound is '0', not a number"),
    ],
)
def test_a_metric_that_no_record_could_hold_is_refused(changed, sentence):
    with pytest.raises(sb.SaebenchError, match=sentence):
        sb.Metric(**(METRIC | changed))


def test_numbers_of_numpy_and_whole_numbers_are_bounds():
    assert sb.Metric(**(METRIC | {"lower_bound": 0, "upper_bound": np.float64(1)})).summary() == "higher, 0 to 1"


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"version": "1"}, "card 't': version is '1', not a whole number"),
        ({"headline": "a"}, "card 't': headline is 'a', not a list"),
        ({"headline": ("b",)}, "card 't' has headline metrics it does not declare"),
        ({"accepts": ("saes",)}, r"card 't': accepts\[0\] is 'saes', not one of sae"),
        ({"metrics": ("a",)}, "card 't' has a str among its metrics"),
    ],
)
def test_a_card_that_no_record_could_hold_is_refused(changed, sentence):
    with pytest.raises(sb.SaebenchError, match=sentence):
        sb.Card(**(CARD | changed))


@pytest.mark.parametrize("config", [Bare, Undecorated, None])
def test_a_config_that_is_no_dataclass_is_refused(config):
    with pytest.raises(sb.SaebenchError, match=r"task 't': its config \w+ is no dataclass; put @dataclass"):
        sb.Task(sb.Card(**CARD), config, lambda *_: None, lambda *_: sb.Scores())
