"""Which rows a probe may fit on and which it is judged by. Depends on labels and seed only, never on the subject."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from saebench_lite.data.types import Labelled
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.stats.seeds import rng


class Split(NamedTuple):
    """Positions within a Labelled's rows."""

    train: np.ndarray
    "Rows to fit on. [n_train]"
    test: np.ndarray
    "Rows read once, at the end. [n_test]"


def normal_split(positive: np.ndarray, seed: int, max_train: int = 1024) -> Split:
    """The balanced split of sae-probes (`get_train_test_indices`, 0.4.2), draw for draw.

    n_train = min(n - 100, max_train), n_test = n - n_train - 1, halves positive (odd sizes: one more positive). With
    classes of unequal size, n is twice the smaller one; below 200 rows half of them train. positive [n] bool.
    SaebenchError below 20 usable rows.
    """
    yes, no = np.flatnonzero(positive), np.flatnonzero(~positive)
    n = 2 * min(len(yes), len(no)) if len(yes) != len(no) else len(positive)
    if n < 20:
        raise SaebenchError(
            f"{len(yes)} positive and {len(no)} negative texts are too few to split; 10 each are needed"
        )
    n_train = min(n - 100, max_train) if n >= 200 else n // 2
    n_test = n - n_train - 1
    draw = np.random.RandomState(seed)

    def pick(from_yes: np.ndarray, from_no: np.ndarray, size: int) -> np.ndarray:
        n_yes = -(-size // 2)
        chosen = draw.choice(from_yes, n_yes, replace=False), draw.choice(from_no, size - n_yes, replace=False)
        return np.concatenate(chosen)

    train = pick(yes, no, n_train)
    test = pick(np.setdiff1d(yes, train), np.setdiff1d(no, train), n_test)
    return Split(draw.permutation(train), draw.permutation(test))


def given_split(
    positive: np.ndarray, part: np.ndarray, seed: int, max_train: int = 1024, max_test: int | None = None
) -> Split:
    """A class-balanced draw from rows whose part (train, test) the data fixes; rows marked "hard" are left out.

    Each part takes as many rows of a class as its smaller class has.

    Args:
        positive: labels. [n] bool
        part: "train", "test" or "hard" of each row. [n] str
        seed: of the draw.
        max_train: training rows at most.
        max_test: test rows at most; None: no limit.
    """

    def balanced(name: str, limit: int | None) -> np.ndarray:
        draw = rng("split", name, seed)
        yes, no = np.flatnonzero(positive & (part == name)), np.flatnonzero(~positive & (part == name))
        size = min(len(yes), len(no), (limit or 2 * len(positive)) // 2)
        if size < 2:
            raise SaebenchError(
                f"the {name} part has {len(yes)} positive and {len(no)} negative texts; 2 each are needed"
            )
        return draw.permutation(np.concatenate([draw.permutation(yes)[:size], draw.permutation(no)[:size]]))

    return Split(balanced("train", max_train), balanced("test", max_test))


def split_of(labelled: Labelled, seed: int, max_train: int = 1024, max_test: int | None = None) -> Split:
    """The split of a dataset for a seed: drawn from the data's own parts where it has them, else `normal_split`.

    Args:
        labelled: the dataset.
        seed: of the draw.
        max_train: training rows at most.
        max_test: test rows at most, of data that have parts.
    """
    try:
        if labelled.part is None:
            return normal_split(labelled.positive, seed, max_train)
        return given_split(labelled.positive, labelled.part, seed, max_train, max_test)
    except SaebenchError as error:
        raise SaebenchError(f"dataset {labelled.name!r}: {error}") from error


def detection_split(labelled: Labelled, seed: int, max_positive: int = 512, max_negative: int = 2048) -> Split:
    """Training and test rows that keep the classes' own sizes, for scores at a fixed prevalence.

    Each class is drawn in random order and halved, at most `max_*` rows a half; where the data has parts, the halves
    are its train and test parts, and a training part that is used whole is drawn with replacement, so that seeds show
    what other training texts would have given. Many negatives matter: at a prevalence of 5 % each false alarm weighs
    nineteenfold. SaebenchError where a half would have fewer than two rows of a class.

    Args:
        labelled: the dataset.
        seed: of the draw.
        max_positive: positives a half, at most.
        max_negative: negatives a half, at most.
    """
    draw = rng("detection split", seed)
    halves: list[list[np.ndarray]] = [[], []]
    for positive, limit in ((True, max_positive), (False, max_negative)):
        rows = draw.permutation(np.flatnonzero(labelled.positive == positive))
        if labelled.part is None:
            size = min(limit, len(rows) // 2)
            two = rows[:size], rows[size : 2 * size]
        else:
            train, test = (rows[labelled.part[rows] == name] for name in ("train", "test"))
            resampled = len(train) > 1 and len(train) <= limit
            two = (draw.choice(train, len(train)) if resampled else train[:limit]), test[:limit]
        if min(map(len, two)) < 2:
            raise SaebenchError(
                f"dataset {labelled.name!r} has {len(rows)} {'positive' if positive else 'negative'} texts;"
                " two are needed in each of train and test"
            )
        halves[0].append(two[0])
        halves[1].append(two[1])
    return Split(*(np.concatenate(half) for half in halves))


def too_small(reasons: Sequence[str], of: int) -> list[str]:
    """A sentence on the data sets that cannot be split, if any; NotApplicable where that is all of them.

    Args:
        reasons: what splitting said of each.
        of: data sets in all.
    """
    if not reasons:
        return []
    if len(reasons) == of:
        raise NotApplicable(reasons[0])
    return [f"{len(reasons)} of {of} data sets are left out, with too few texts to split; the first: {reasons[0]}"]


def without_repeats(labelled: Labelled) -> tuple[Labelled, list[str]]:
    """The dataset as `distinct` gives it, and a sentence on what was left out where that is anything.

    No text is then both learnt from and judged on, whatever draws the split.
    """
    kept = distinct(labelled)
    gone = len(labelled.rows) - len(kept.rows)
    if not gone:
        return labelled, []
    return kept, [
        f"{labelled.name}: {gone} of {len(labelled.rows)} rows left out, for their text is there already or carries"
        " both labels"
    ]


def distinct(labelled: Labelled) -> Labelled:
    """The dataset with each text once (its first row); texts that carry both labels are dropped."""
    rows, positive = np.asarray(labelled.rows), np.asarray(labelled.positive, dtype=bool)
    both = np.intersect1d(rows[positive], rows[~positive])
    _, first = np.unique(rows, return_index=True)
    keep = np.sort(first[~np.isin(rows[first], both)])
    part = None if labelled.part is None else labelled.part[keep]
    return dataclasses.replace(labelled, rows=rows[keep], positive=positive[keep], part=part)
