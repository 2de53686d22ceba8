"""One line about any exception."""

import pytest

from saebench_lite.errors import NotApplicable, SaebenchError, reason


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
