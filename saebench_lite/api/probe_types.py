"""What a baseline can be: kinds of functions that learn one concept from labelled texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

if TYPE_CHECKING:
    from saebench_lite.activations.acts import Acts
    from saebench_lite.api.context import EvalContext
    from saebench_lite.data.types import Corpus


class Direction(NamedTuple):
    """A fitted linear probe: score(x) = x . weight + bias, positive means yes."""

    weight: Tensor
    "[problems, d]"
    bias: Tensor
    "[problems]"


def joined(parts: Sequence[Direction]) -> Direction:
    """The probes of several fits, one after another."""
    return Direction(torch.cat([p.weight for p in parts]), torch.cat([p.bias for p in parts]))


def each(fitted: Direction) -> list[Direction]:
    """The probes one by one, as fits of a single problem."""
    return [Direction(w[None], b[None]) for w, b in zip(fitted.weight, fitted.bias, strict=True)]


class TrainingSet(NamedTuple):
    """One yes/no problem on rows of a table."""

    rows: Tensor
    "Row numbers; one that stands several times counts as often. [n]"
    y: Tensor
    "Labels. [n] bool"


class ProbeFit(Protocol):
    """Fits many yes/no problems on the same rows at once.

    x [n, d] float32; y [problems, n] bool; train_mask [problems, n] bool: the training rows of each problem. Test rows
    are never handed in. Returns one direction per problem, in x's own scale and any type of numbers.
    """

    def __call__(self, x: Tensor, y: Tensor, train_mask: Tensor, /) -> Direction: ...


@runtime_checkable
class FitsSets(Protocol):
    """A `ProbeFit` that also fits problems with rows of their own faster together than one by one.

    x [n, d] is the table that the sets' rows index. Direction i is that of `__call__(x[rows], y[None], all)` for set i,
    whatever the other sets are, up to rounding.
    """

    def fit_sets(self, x: Tensor, sets: Sequence[TrainingSet], /) -> Direction: ...


def fit_sets(probe: ProbeFit, x: Tensor, sets: Sequence[TrainingSet]) -> Direction:
    """One direction a training set: by the probe's own `fit_sets`, or set by set if it has none.

    Args:
        probe: how directions are fitted.
        x: table that the sets' rows index. [n, d]
        sets: at least one.
    """
    if isinstance(probe, FitsSets):
        return probe.fit_sets(x, sets)
    return joined([probe(*question(x, s)) for s in sets])


def question(x: Tensor, training: TrainingSet) -> tuple[Tensor, Tensor, Tensor]:
    """The arguments (x [n, d], y [1, n], train_mask [1, n]) that ask a `ProbeFit` for one set of a table's rows."""
    y = training.y.to(x.device)[None]
    return x[training.rows.to(x.device)], y, torch.ones_like(y)


class Classify(Protocol):
    """Learns one yes/no question on rows and judges other rows; for what no direction can express.

    x [n, d] training rows (one per text), y [n] in {0, 1}, judged [m, d]. Returns scores [m], positive means yes.
    Deterministic: random numbers come from a seed derived from the shapes.
    """

    def __call__(self, x: Tensor, y: Tensor, judged: Tensor, /) -> Tensor: ...


class ClassifyTokens(Protocol):
    """The same for what reads every token of a text: train (n texts), y [n], judged (m texts) -> scores [m]."""

    def __call__(self, train: Acts, y: Tensor, judged: Acts, /) -> Tensor: ...


class TextsProbe(Protocol):
    """Fits one yes/no problem on raw texts: train texts with labels y [n] bool -> scores [len(texts)] of `texts`."""

    def __call__(self, train: Sequence[str], y: Tensor, texts: Sequence[str], /) -> Tensor: ...


class ModelProbe(Protocol):
    """Trains one direction through the model itself: texts `rows` [n] of a corpus with labels y [n] bool."""

    def __call__(self, ctx: EvalContext, corpus: Corpus, rows: Tensor, y: Tensor, /) -> Direction: ...
