"""Columns of texts and labels to yes/no datasets; shared by the sources that read tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from saebench_lite.data.types import Corpus, Data, Labelled
from saebench_lite.errors import SaebenchError

NO_LABEL = frozenset({"", "nan", "na", "n/a", "null", "none"})
"Spellings, in lower case, of a label that is not there."
LEAST = 4
"Texts that a class must have: two to learn from and two to be judged on."
MOST_CLASSES = 1000
"Classes of one table at most, unless a limit or a class is named."
MOST_NUMBERS = 20
"Distinct labels with decimals from which a column holds measurements and no classes."
PARTS = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "validation": "validation",
    "valid": "validation", "val": "validation", "dev": "validation", "eval": "validation",
}  # fmt: skip
"How the parts of a table are spelt."


def row_place(row: int) -> str:
    """What a message calls a row of a table whose rows are no lines of a file: `row 3`, counted from 0."""
    return f"row {row}"


def plain_texts(values: Sequence[object], name: str, place: Callable[[int], str] = row_place) -> list[str]:
    """Texts of a column; a number is written out, a missing one is "".

    SaebenchError for lists, objects and bytes, whose Python spelling is no text.

    Args:
        values: the column.
        name: of the table.
        place: what a message calls a row.
    """
    texts = []
    for row, value in enumerate(values):
        if isinstance(value, str):
            texts.append(value)
        elif _missing(value):
            texts.append("")
        elif isinstance(value, int | float | np.number):
            texts.append(str(value))
        else:
            kind = "bytes" if isinstance(value, bytes) else "a list or an object"
            raise SaebenchError(
                f"{name} {place(row)} holds {kind} where a text is needed; name a column of plain texts"
            )
    return texts


def class_names(values: Sequence[object], name: str) -> list[frozenset[str]]:
    """The classes of each row: one, several where labels are lists, none where the label is missing.

    1, 1.0, "1" and "1.0" are one class, and so is true where there are numbers beside it.
    """
    lists = any(_is_list(v) for v in values)
    rows = [list(v) if _is_list(v) else [v] for v in values]  # type: ignore[call-overload]  # a list, as just asked
    single = [v for row in rows for v in row if not _missing(v)]
    numeric = any(isinstance(v, int | float | np.number) and not isinstance(v, bool | np.bool_) for v in single)
    if any(isinstance(v, dict | bytes) or _is_list(v) for v in single):
        raise SaebenchError(f"{name} has labels that are objects; a label is a text, a number or a list of them")
    spelt = [frozenset(_spelt(v, numeric) for v in row if not _missing(v)) for row in rows]
    decimals = {c for row in spelt for c in row if _has_decimals(c)}
    if not lists and len(decimals) > MOST_NUMBERS:
        raise SaebenchError(
            f"{name} has {len(decimals)} labels with decimals, such as {min(decimals)}; make classes of them"
        )
    return spelt


def one_against_rest(
    name: str,
    texts: Sequence[str],
    labels: Sequence[object],
    part: np.ndarray | None,
    limit: int | None,
    positive: str | None,
    place: Callable[[int], str] = row_place,
) -> Data:
    """Yes/no datasets of labelled texts: one for two classes, one a class for more, the texts read once.

    Args:
        name: of the table.
        texts: one a row, repeats allowed.
        labels: one a row; a list where a row has several; missing ones leave their row out, and so does an empty text.
        part: "train" or "test" a row, or None.
        limit: classes at most.
        positive: the only class asked for.
        place: what a message calls a row of `texts`.

    A class with fewer than `LEAST` texts has no dataset of its own; notes say what was left out.
    """
    classes = class_names(labels, name)
    listed = any(len(row) > 1 for row in classes)
    there = np.array([bool(row) for row in classes])
    notes = [f"{name}: {int((~there).sum())} rows without a label left out"] if not there.all() else []
    if empty := [row for row, text in enumerate(texts) if there[row] and not text.strip()]:
        notes.append(f"{name}: rows without a text left out: {len(empty)}, the first {place(empty[0])}")
        there[empty] = False
    kept_texts = [t for t, ok in zip(texts, there, strict=True) if ok]
    classes = [row for row, ok in zip(classes, there, strict=True) if ok]
    part = None if part is None else part[there]
    distinct = {text: i for i, text in enumerate(dict.fromkeys(kept_texts))}
    rows = np.array([distinct[t] for t in kept_texts])
    names = sorted(set().union(*classes))
    if len(names) < 2:
        only = f"only the label {names[0]!r}" if names else "no labels"
        raise SaebenchError(f"{name} has {only}; a probe needs at least two classes")
    if positive is not None and positive not in names:
        raise SaebenchError(f"{name} has no label {positive!r}; its labels are {', '.join(names[:20])}")
    if len(names) > MOST_CLASSES and positive is None and limit is None:
        raise SaebenchError(f"{name} has {len(names)} labels; give --limit, or positive=LABEL for one of them")
    corpus = Corpus(name, tuple(distinct))
    chosen = [positive] if positive else names[1:] if len(names) == 2 and not listed else names
    labelled = []
    for label in chosen:
        member = np.array([label in row for row in classes])
        few = min(len(set(rows[member])), len(set(rows[~member])))
        if few < LEAST and len(chosen) > 1:
            notes.append(f"{name}: label {label!r} left out, {few} texts are too few to learn and to judge")
            continue
        labelled.append(Labelled(name if len(chosen) == 1 else f"{name}: {label}", corpus, rows, member, part))
        if limit is not None and len(labelled) == limit:
            break
    if not labelled:
        raise SaebenchError(f"{name} has no label with {LEAST} texts for it and {LEAST} against it; give it more rows")
    datasets = tuple(labelled)
    return Data(name, datasets=datasets, concepts=datasets, texts=(corpus,), notes=tuple(notes))


def parts(values: Sequence[object], name: str) -> np.ndarray:
    """Train and test marks in whatever usual spelling; validation rows are the test where there is no other.

    SaebenchError for other words, or where train, validation and test are all there.
    """
    words = [str(v).strip().lower() for v in values]
    if odd := next((v for v, w in zip(values, words, strict=True) if w not in PARTS), None):
        raise SaebenchError(f"{name} has the part {odd!r}; only train and test (or validation) are known")
    marks = np.array([PARTS[w] for w in words])
    if {"test", "validation"} <= set(marks.tolist()):
        raise SaebenchError(f"{name} has validation and test parts; leave the rows of one of them out")
    return np.where(marks == "validation", "test", marks)


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple | np.ndarray)


def _missing(value: object) -> bool:
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return True
    return type(value).__name__ in ("NAType", "NaTType") or (
        isinstance(value, str) and value.strip().lower() in NO_LABEL
    )


def _spelt(value: object, numeric: bool) -> str:
    """One spelling a class: whole numbers without a point, true and false as 1 and 0 where there are numbers."""
    if isinstance(value, bool | np.bool_):
        return str(int(value)) if numeric else str(bool(value))
    if isinstance(value, str):
        text = value.strip()
        whole, point, zeros = text.partition(".")
        return whole if point and whole.lstrip("+-").isdigit() and not zeros.strip("0") else text
    number = float(value)  # type: ignore[arg-type]  # texts, lists and objects went before
    return str(int(number)) if number.is_integer() else repr(number)


def _has_decimals(label: str) -> bool:
    try:
        return not float(label).is_integer()
    except (ValueError, OverflowError):
        return False
