"""Records taken out of a results folder: what failed, or what belongs to a subject that is not wanted any more."""

from __future__ import annotations

import difflib
from pathlib import Path

from saebench_lite.errors import SaebenchError
from saebench_lite.records.record import Record, read
from saebench_lite.records.schema1 import schema1_path


def chosen(folder: Path, *, failed: bool = False, subject: str | None = None) -> list[Record]:
    """Records of a results folder that failed, or of one subject; with both, those of it that failed.

    Sorted by subject and task. SaebenchError if neither is asked for, for an unknown name, or without records.

    Args:
        folder: the results folder.
        failed: whether only records without scores because something failed are chosen.
        subject: name of an SAE, baseline or control, as in the table.
    """
    if not failed and subject is None:
        raise SaebenchError("nothing says which records; add --failed, --subject NAME, or both")
    records = read(folder)
    names = sorted({r.subject.name for r in records})
    if subject is not None and subject not in names:
        close = difflib.get_close_matches(subject, names, n=3, cutoff=0.5) or names[:3]
        raise SaebenchError(f"no record is of a subject called {subject!r}; did you mean {' or '.join(close)}?")
    of = [r for r in records if subject in (None, r.subject.name) and (r.status == "failed" or not failed)]
    return sorted(of, key=lambda r: (r.subject.name, r.task.name, r.digest))


def remove(records: list[Record], folder: Path) -> None:
    """Deletes the files of records under a results folder, those of schema 1 too, and folders that are empty then."""
    for record in records:
        for path in (record.path(folder), schema1_path(record.key, folder)):
            path.unlink(missing_ok=True)
            for parent in (path.parent, path.parent.parent):
                if parent.is_dir() and not any(parent.iterdir()):
                    parent.rmdir()
