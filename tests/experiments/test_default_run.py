"""The default run is timed on a terminal: when a first table stands, and how a command ends."""

import sys

from tests.experiments.default_run import COLUMNS, ROWS, TABLE, on_a_terminal


def test_a_command_on_a_terminal_is_watched_for_a_table():
    says = f"import os, sys; assert tuple(os.get_terminal_size()) == ({COLUMNS}, {ROWS}); print({TABLE!r}); sys.exit(3)"
    status, first, whole = on_a_terminal([sys.executable, "-c", says])
    assert status == 3
    assert first is not None
    assert 0 < first <= whole


def test_without_a_table_there_is_no_time_of_one():
    status, first, _ = on_a_terminal([sys.executable, "-c", "print('no table')"])
    assert (status, first) == (0, None)
