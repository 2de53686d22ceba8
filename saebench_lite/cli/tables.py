"""Tables beside the records of a results folder."""

from __future__ import annotations

from pathlib import Path


def written_at(folder: Path) -> dict[Path, int]:
    """When each record of a folder was written, in nanoseconds, by its path."""
    from saebench_lite.records.record import paths_of

    return {path: path.stat().st_mtime_ns for path in paths_of(folder)}


def write_tables(folder: Path) -> None:
    """Writes `TABLES` of a folder's records, of the newest subject of each name (`selection.current`)."""
    from saebench_lite.files import write_text
    from saebench_lite.records.record import TABLES, read_all
    from saebench_lite.records.selection import current
    from saebench_lite.report.leaderboard import leaderboard_text

    records = current(read_all(folder)[0])
    for name, format in zip(TABLES, ("md", "csv"), strict=True):
        write_text(folder / name, leaderboard_text(records, format))
