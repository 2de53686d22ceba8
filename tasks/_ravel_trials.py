"""Trials: a base prompt that is asked while part of its entity's activation is that of another entity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebench_lite.models.protocol import Model, Prefix
from saebench_lite.models.tokens import TokenBatch
from saebench_lite.tasks._ravel_facts import Fact, answer, answered, at_entities, pairs_of

Edit = Callable[[Tensor, Tensor], Tensor]
"(activations x [b, d] of base entities, those of source entities [b, d]) -> what stands in the place of x. [b, d]"


class Trial(NamedTuple):
    """A base, a source, and what the model should say after the swap."""

    base: Fact
    source: Fact
    answer: tuple[int, ...]
    cause: bool
    "Whether the source's value is right; else the base's, of another attribute than the one that is swapped."


class Piece(NamedTuple):
    """Trials that go through the model together."""

    rows: list[int]
    batch: TokenBatch
    prefix: Prefix
    place: Tensor
    "Of the base's entity. [b]"
    source: Tensor
    "Activation at the source's entity. [b, d] float32"
    starts: Tensor
    "First token of the answer. [b]"
    lengths: Tensor
    "Tokens with the answer. [b]"


class Trials(NamedTuple):
    """Trials of an attribute with all that they need of the model's first layers."""

    of: list[Trial]
    pieces: list[Piece]


def cause_trials(lm: Model, facts: Sequence[Fact], most: int, draw: np.random.Generator) -> list[Trial]:
    """Base and source of one attribute, with different values: the source's is right.

    Args:
        lm: whose tokens the answers are.
        facts: of the attribute, all known.
        most: trials.
        draw: chooses them.
    """
    out: list[Trial] = []
    for base, source in pairs_of(facts, draw):
        if len(out) == most:
            break
        ids = answer(lm, base, source.value) if base.value != source.value else None
        if ids is not None and ids[0] != (answer(lm, base, base.value) or ids)[0]:
            out.append(Trial(base, source, ids, cause=True))
    return out


def isolate_trials(
    lm: Model,
    facts: Sequence[Fact],
    others: dict[str, list[Fact]],
    values: dict[str, dict[str, str]],
    most: int,
    draw: np.random.Generator,
) -> list[Trial]:
    """A base that is asked about another attribute, in which the source differs: the base's value is right.

    Args:
        lm: whose tokens the answers are.
        facts: of the attribute that is swapped: the sources.
        others: known facts of each other attribute: the bases.
        values: {entity: {attribute: value}}.
        most: trials in all, shared out evenly among the other attributes.
        draw: chooses them.
    """
    out: list[Trial] = []
    for attribute, bases in others.items():
        quota = len(out) + max(1, most // len(others))
        order = [(b, s) for b in bases for s in facts if values[s.entity].get(attribute, b.value) != b.value]
        for k in draw.permutation(len(order)):
            if len(out) == quota:
                break
            base, source = order[k]
            ids = answer(lm, base, base.value)
            if ids is not None:
                out.append(Trial(base, source, ids, cause=False))
    return out


def placed(lm: Model, hook: str, trials: Sequence[Trial], batch_tokens: int) -> Trials:
    """The trials with their first layers computed.

    Args:
        lm: the model.
        hook: where activations are swapped.
        trials: what is tried.
        batch_tokens: padded tokens of a batch.
    """
    facts = list(dict.fromkeys(t.source for t in trials))
    at = dict(zip(facts, at_entities(lm, hook, facts, batch_tokens), strict=True))
    ids = [[*t.base.prompt, *t.answer] for t in trials]
    pieces = []
    for rows, batch in lm.batches(ids, max_tokens=batch_tokens):
        chosen = [trials[r] for r in rows]
        source = torch.stack([at[t.source] for t in chosen])
        place, starts = (
            torch.tensor(v) for v in ([t.base.place for t in chosen], [len(t.base.prompt) for t in chosen])
        )
        lengths = torch.tensor([len(ids[r]) for r in rows])
        pieces.append(Piece(rows, batch, lm.prefix(batch, hook), place, source, starts, lengths))
    return Trials(list(trials), pieces)


def logits_after(lm: Model, hook: str, piece: Piece, edit: Edit, *, gradients: bool = False) -> Tensor:
    """Logits [b, L, V] of a piece with its entities' activations edited.

    Args:
        lm: the model.
        hook: where.
        piece: the trials.
        edit: what is done to the activations.
        gradients: whether they can be followed back to what the edit is made of.
    """
    row = torch.arange(len(piece.rows), device=piece.source.device)
    place = piece.place.to(piece.source.device)
    x = piece.prefix.acts[row, place].float()
    replaced = piece.prefix.acts.clone()
    new = edit(x, piece.source).to(replaced.dtype)
    replaced = replaced.index_put((row, place), new)
    return lm.logits_with(piece.batch, piece.prefix, replaced, hook, gradients=gradients)


@torch.no_grad()
def outcomes(lm: Model, hook: str, trials: Trials, edit: Edit) -> Tensor:
    """Whether the model gives the right answer in each trial. [n] bool

    Args:
        lm: the model.
        hook: where.
        trials: what is tried.
        edit: what is done to the activations.
    """
    out = torch.zeros(len(trials.of), dtype=torch.bool)
    for piece in trials.pieces:
        most_likely = logits_after(lm, hook, piece, edit).argmax(-1)
        out[piece.rows] = answered(most_likely, piece.batch.ids, piece.starts, piece.lengths).cpu()
    return out
