"""What a baseline can be: kinds of functions that learn one concept from labelled texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

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


class ProbeFit(Protocol):
    """Fits many yes/no problems on the same rows at once.

    x [n, d]; y [problems, n] in {0, 1}; train_mask [problems, n] bool: the training rows of each problem. Test rows are
    never handed in. Returns one direction per problem, in x's own scale.
    """

    def __call__(self, x: Tensor, y: Tensor, train_mask: Tensor, /) -> Direction: ...


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
