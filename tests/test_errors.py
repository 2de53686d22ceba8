"""One line about any exception."""

import pytest

from saebench_lite.errors import NotApplicable, SaebenchError, reason, told


class Silent(Exception):
    def __str__(self):
        raise TypeError("no text")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (SaebenchError("the thing is wrong; do this"), "the thing is wrong; do this"),
        (NotApplicable(), "NotApplicable"),
        (ValueError("  \n\n first \nsecond"), "ValueError: first"),
        (RuntimeError(), "RuntimeError"),
        (Silent(), "Silent"),
        (KeyError("a\x1b[31m"), "KeyError: 'a\\x1b[31m'"),
        (OSError("a\x1b[31m"), "OSError: a?[31m"),
        (ValueError("x" * 500), "ValueError: " + "x" * 200),
    ],
)
def test_reason(error, line):
    assert reason(error) == line


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.5, "2.5"),
        (-(10**30), "-1000000000000000000000000000000"),
        (-(10**400), "about -10^400"),
        (10**5000, "about 10^5000"),
        ([10**5000], "a list of huge numbers"),
        ("x" * 100, "'" + "x" * 76 + "..."),
    ],
    ids=["float", "long", "longer", "huge", "list", "text"],  # pytest cannot write the huge one
)
def test_values_are_told_in_short(value, text):
    assert told(value) == text
