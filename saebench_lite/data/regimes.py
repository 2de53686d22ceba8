"""Training sets of one probing problem under scarce, imbalanced, mislabelled and shifted data.

They depend on labels, text lengths and seed only, never on the subject.

Everything is cut from one split: training rows of every regime lie within its training rows, judged rows within its
test rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from saebench_lite.data.splits import Split
from saebench_lite.stats.seeds import rng

REGIMES = ("normal", "scarcity", "imbalance", "noise", "shift", "in_domain")


STEP = 20
"Imbalanced training sets have a multiple of this many rows, so that shares in steps of 5 % come out exactly."


LEAST_SHIFT = 5
"Rows a class must have, short and long, for the shift to be judged."


class Point(NamedTuple):
    """One regime at one level; positions are those of the dataset's rows."""

    regime: str
    level: float
    train: np.ndarray
    "[n], in the order of the split"
    labels: np.ndarray
    "Labels as the training set shows them. [n] bool"
    judged: np.ndarray
    "[m]"


def first_of_each(order: np.ndarray, positive: np.ndarray, n_yes: int, n_no: int) -> np.ndarray:
    """The first n_yes positive and n_no negative positions of `order`, in its order.

    Args:
        order: positions among the dataset's rows.
        positive: labels of all rows. [rows] bool
        n_yes: positives to take.
        n_no: negatives to take.
    """
    yes = positive[order]
    return order[(yes & (np.cumsum(yes) <= n_yes)) | (~yes & (np.cumsum(~yes) <= n_no))]


def normal(split: Split, positive: np.ndarray) -> list[Point]:
    """All training rows with their labels; the level is their number."""
    return [Point("normal", float(len(split.train)), split.train, positive[split.train], split.test)]


def scarcity(split: Split, positive: np.ndarray, sizes: Sequence[int]) -> list[Point]:
    """Nested balanced training sets of the sizes that there are rows for; the level is the size."""
    yes = int(positive[split.train].sum())
    most = 2 * min(yes, len(split.train) - yes)
    points = []
    for size in sizes:
        if size <= most:
            train = first_of_each(split.train, positive, size // 2, size // 2)
            points.append(Point("scarcity", float(size), train, positive[train], split.test))
    return points


def imbalance(split: Split, positive: np.ndarray, shares: Sequence[float]) -> list[Point]:
    """Training sets of one size with different shares of positives; the level is the share. None below `STEP` rows."""
    yes = int(positive[split.train].sum())
    no = len(split.train) - yes
    size = int(min(min(yes / share, no / (1 - share)) for share in shares) + 1e-9) // STEP * STEP
    points = []
    for share in shares if size else ():
        n_yes = round(share * size)
        train = first_of_each(split.train, positive, n_yes, size - n_yes)
        points.append(Point("imbalance", share, train, positive[train], split.test))
    return points


def noise(split: Split, positive: np.ndarray, shares: Sequence[float], seed: int) -> list[Point]:
    """All training rows, a share of their labels flipped; a smaller share flips a part of what a larger one flips.

    Args:
        split: rows to train on and to judge by.
        positive: labels of all rows. [rows] bool
        shares: of labels to flip.
        seed: draws which.
    """
    order = rng("flipped labels", seed, len(split.train)).permutation(len(split.train))
    points = []
    for share in shares:
        labels = positive[split.train].copy()
        labels[order[: round(share * len(order))]] ^= True
        points.append(Point("noise", share, split.train, labels, split.test))
    return points


def shift(split: Split, positive: np.ndarray, lengths: np.ndarray) -> list[Point]:
    """Learn from short texts, judge long ones (`shift`), and the same with long training texts (`in_domain`).

    Long: longer than the median training text of its own class, so that length says nothing about the label's
    frequency. Both training sets have the same size, all sets are balanced. None where a class has less than
    `LEAST_SHIFT` rows on one side. lengths [rows of the dataset]
    """
    long = np.zeros(len(positive), dtype=bool)
    for label in (True, False):
        median = np.median(lengths[split.train[positive[split.train] == label]])
        long |= (positive == label) & (lengths > median)

    def counts(rows: np.ndarray) -> tuple[int, int]:
        return int(positive[rows].sum()), int((~positive[rows]).sum())

    short_train, long_train = split.train[~long[split.train]], split.train[long[split.train]]
    long_test = split.test[long[split.test]]
    learn, judge = min(*counts(short_train), *counts(long_train)), min(counts(long_test))
    if min(learn, judge) < LEAST_SHIFT:
        return []
    judged = first_of_each(long_test, positive, judge, judge)
    points = []
    for regime, rows in (("shift", short_train), ("in_domain", long_train)):
        train = first_of_each(rows, positive, learn, learn)
        points.append(Point(regime, float(len(train)), train, positive[train], judged))
    return points
