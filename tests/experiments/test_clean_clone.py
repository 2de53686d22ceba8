"""The timed commands are ones the command line understands; the page has a row for each."""

import shlex

import pytest

from tests.experiments.clean_clone import Step, page, steps
from tests.test_docs import parse

COMMANDS = [c for c in steps("a", "b") if "saebench-lite" in c]


def test_a_second_sae_is_scored_beside_the_first_in_the_same_folder():
    _, _, first, both, table = steps("a", "b")
    assert both.replace(" --sae b", "") == first
    assert table.endswith("leaderboard scores")
    assert first.endswith("--out scores")


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command):
    parse(shlex.split(command)[1:])


def test_page_has_a_row_a_command():
    text = page([Step("one", 1.4, 0.6, 3.04), Step("two", 20.0, 30.0, 1.0)], "abc")
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]
    assert rows == [["`one`", "1", "1", "3.0"], ["`two`", "20", "30", "1.0"]]
