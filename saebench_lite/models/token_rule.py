"""Which tokens of a text a statistic reads: what is put in front of a text, and which positions are left out.

In many language models a few tokens, above all the first one of a text, have activations whose norm is a hundred times
that of all others: attention sinks (Xiao et al., arXiv:2309.17453), or massive activations (Sun et al.,
arXiv:2402.17762). One of them outweighs the rest of its text in explained variance, in a pooled mean and in the loss of
a training SAE. So a text begins with BOS where the model needs one, and tokens of such a norm are left out.

What is a sink is measured once for each hook of a model, on fixed texts (`sinks.py`). A model that shows none there has
no token left out for its norm, whatever it reads later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from saebench_lite.errors import SaebenchError

if TYPE_CHECKING:
    from torch import Tensor

NO_SPECIAL_TOKENS = "no-special-tokens"
"Code of a site where special tokens alone are left out, and texts are as the tokenizer gives them."
RATIO = 10.0
BOS_WORDS = ("auto", "prepend", "as-is", "none")


@dataclass(frozen=True, kw_only=True)
class TokenRule:
    """What is asked for, whatever the model; SaebenchError for words that are not known."""

    bos: str = "auto"
    """`prepend`: BOS (EOS where there is none) in front of each text where the tokenizer adds no special token there;
    `as-is`: texts as the tokenizer gives them; `none`: without the special token that it adds in front; the text of a
    vocabulary token: that one in front; `auto`: `prepend` if the first token of most texts is an attention sink in the
    middle of the model, else `as-is`."""
    leave_out: str = "sinks"
    """Beside special tokens: `sinks`, tokens with a norm over 10 times the median (`sinks:20`: 20 times); `first`
    (`first:20`), those and the first token of each text; `special`, none."""

    def __post_init__(self) -> None:
        if not isinstance(self.bos, str) or not self.bos:
            raise SaebenchError(f"bos is {self.bos!r}; write {', '.join(BOS_WORDS)} or a token of the vocabulary")
        word, colon, number = str(self.leave_out).partition(":")
        known = word in ("sinks", "first") or (word == "special" and not colon)
        if not known or (colon and not _above_one(number)):
            raise SaebenchError(
                f"leave_out {self.leave_out!r} is not known; write special, sinks, first, or sinks:20 and first:20 for"
                " another multiple (above 1) of the median norm"
            )

    @classmethod
    def of_code(cls, code: str) -> TokenRule:
        """A rule that comes to the positions that a record names by `code`, at the record's own site."""
        parts = code.split(",")[1:]
        bos = next((p.removeprefix("bos:") for p in parts if p.startswith("bos:")), "as-is")
        ratio = next((p.removeprefix("norm<=").removesuffix("xmedian") for p in parts if p.startswith("norm<=")), "")
        word = "first" if "no-first" in parts else "sinks" if ratio else "special"
        return cls(bos="none" if "no-bos" in parts else bos, leave_out=f"{word}:{ratio}" if ratio else word)

    @property
    def ratio(self) -> float:
        """A sink's norm over the median norm is more than this."""
        _, colon, number = self.leave_out.partition(":")
        return float(number) if colon else RATIO


class Front(NamedTuple):
    """How the front of each text differs from what the tokenizer gives."""

    token: int | None = None
    "Id put in front; None for none."
    removes: int | None = None
    "Id taken away in front first; None for none."
    text: str | None = None
    "The special token that each text begins with, whoever put it there; None for none."
    code: str = ""
    "The change in the code of a token rule."

    def applied(self, ids: Sequence[int]) -> list[int]:
        """Ids of a text as the tokenizer gives them, with the change made."""
        row = list(ids[1:] if self.removes is not None and ids and ids[0] == self.removes else ids)
        return row if self.token is None else [self.token, *row]


class Positions(NamedTuple):
    """Which positions a statistic reads at one hook of a model."""

    code: str = NO_SPECIAL_TOKENS
    "Names the rule in a record; equal codes at one hook of one model leave out the same positions."
    limit: float = float("inf")
    "Largest norm of a token that is read."
    skips_first: bool = False
    front: str | None = None
    "The special token that each text begins with; None for none."
    finding: str = ""
    "A sentence on sinks and BOS for a reader of the run; empty where there is nothing to say."
    sinks: float = 0.0
    "Share of the sample's real tokens that are attention sinks."

    def read(self, real: Tensor, acts: Tensor) -> Tensor:
        """The positions that are read: [b, L] bool, one at least in each text that has a real token.

        Where a text's real tokens would all be left out, its last one is read.

        Args:
            real: not special and not padding. [b, L] bool
            acts: activations at the hook. [b, L, d]
        """
        if self.limit == float("inf") and not self.skips_first:
            return real
        read = real & ~(acts.float().norm(dim=-1) > self.limit)
        if self.skips_first:
            read &= real.cumsum(1) > 1
        return read | (last(real) & ~read.any(1, keepdim=True))


def last(real: Tensor) -> Tensor:
    """The last real token of each text alone; none of a text without any. real [b, L] bool -> [b, L] bool"""
    return real & (real.cumsum(1) == real.sum(1, keepdim=True))


def _above_one(number: str) -> bool:
    try:
        return 1 < float(number) < float("inf")
    except ValueError:
        return False
