"""Questions put to the model from a hook point on, as it is or with latents set to other values where they fire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from saebench_lite.activations.pooling import chunk_size
from saebench_lite.api.context import EvalContext
from saebench_lite.models.protocol import Prefix
from saebench_lite.saes.protocol import SAE, decode_like, device_of

if TYPE_CHECKING:
    from saebench_lite.models.protocol import Model
    from saebench_lite.models.tokens import TokenBatch
    from saebench_lite.tasks._unlearning_questions import Question


class Piece(NamedTuple):
    """Questions that go through the model together, and the clean model up to the hook."""

    places: Tensor
    "Of its questions among all that were asked. [b] long"
    batch: TokenBatch
    prefix: Prefix
    last: Tensor
    "The last position of each prompt. [b] long"
    options: Tensor
    "First token of each way to go on, the right one first. [b, 4] long"
    clean: Tensor
    "Log-probabilities of the next token. [b, V] float32"


class Edit(NamedTuple):
    """What is done to an activation: latents are set to other values wherever they fire."""

    latents: Tensor
    "[k] long"
    to: Tensor
    "The value of each. [k]"
    strength: float
    "Norm, over that of activations, of what each writes once it is set below 0; 0: ablation."
    asked: int
    "How many latents it was to have; fewer may meet the rule."


class Answers(NamedTuple):
    """What the model makes of questions. [q] each"""

    right: Tensor
    "Whether the right way to go on is the likeliest of the four. bool"
    kl: Tensor
    "KL of the clean from the edited distribution of the next token, nats. float64"


def tokenised(lm: Model, asked: Sequence[Question]) -> tuple[list[list[int]], Tensor, list[int]]:
    """Token ids of prompts, first tokens of their options [q, 4], and which questions of `asked` they are.

    A question is left out where a prompt is not the beginning of itself with an option, or is longer than the context,
    and where two options begin with the same token.
    """
    prompts = lm.tokenize([q.prompt for q in asked], context=None, long_texts="cut_left")
    ids, options, used = [], [], []
    for place, (question, prompt) in enumerate(zip(asked, prompts, strict=True)):
        whole = lm.tokenize([f"{question.prompt} {o}" for o in question.options], context=None, long_texts="cut_left")
        firsts = {row[len(prompt)] for row in whole if len(row) > len(prompt) and row[: len(prompt)] == prompt}
        if len(firsts) == len(question.options):
            ids.append(prompt)
            options.append([row[len(prompt)] for row in whole])
            used.append(place)
    return ids, torch.tensor(options, dtype=torch.long).view(len(used), -1), used


@torch.no_grad()
def pieces_of(ctx: EvalContext, ids: list[list[int]], options: Tensor) -> list[Piece]:
    """Batches of prompts with all that an edit at the hook needs. ids of q prompts, options [q, 4] of them"""
    lm, out = ctx.lm, []
    most = max(256, min(ctx.batch_tokens, ctx.memory // (16 * lm.vocabulary)))
    for rows, batch in lm.batches(ids, max_tokens=most):
        prefix, last = lm.prefix(batch, ctx.hook), batch.attention.sum(1) - 1
        read = batch._replace(real=lm.positions(ctx.hook).read(batch.real, prefix.acts))
        clean = at_last(lm.logits_with(batch, prefix, prefix.acts, ctx.hook), last)
        places = torch.tensor(rows)
        out.append(Piece(places, read, prefix, last, options[places].to(lm.device), clean))
    return out


def at_last(logits: Tensor, last: Tensor) -> Tensor:
    """Log-probabilities [b, V] float32 of the next token after position `last` [b]. logits [b, L, V]"""
    return logits[torch.arange(len(last), device=logits.device), last].float().log_softmax(-1)


@torch.no_grad()
def answers(ctx: EvalContext, pieces: Sequence[Piece], sae: SAE | None = None, edit: Edit | None = None) -> Answers:
    """The model's answers to the questions of all pieces, in the order of places.

    Args:
        ctx: the site.
        pieces: the questions.
        sae: what an edit is an edit of.
        edit: what is done at the hook; None: nothing.
    """
    total = sum(len(piece.places) for piece in pieces)
    right, kl = torch.zeros(total, dtype=torch.bool), torch.zeros(total, dtype=torch.float64)
    for piece in pieces:
        log_p = piece.clean
        if sae is not None and edit is not None and len(edit.latents):
            acts = piece.prefix.acts.clone()
            rows = edited(sae, acts[piece.batch.real], edit, ctx.memory)
            acts[piece.batch.real] = rows.to(acts.dtype)
            log_p = at_last(ctx.lm.logits_with(piece.batch, piece.prefix, acts, ctx.hook), piece.last)
        chosen = log_p.gather(1, piece.options)
        right[piece.places] = (chosen[:, :1] > chosen[:, 1:]).all(1).cpu()
        gap = (piece.clean.double() - log_p.double()) * piece.clean.double().exp()
        kl[piece.places] = gap.sum(1).clamp(min=0).cpu()
    return Answers(right, kl)


def edited(sae: SAE, x: Tensor, edit: Edit, memory: int) -> Tensor:
    """x [t, d] plus what the reconstruction changes by where latents that fire (code above 0) are set as `edit` says.

    The error of the reconstruction stays, and rows on which none of them fires are the same bits.

    Args:
        sae: encodes and decodes.
        x: activations. [t, d]
        edit: what is done.
        memory: bytes that bound the chunks.
    """
    device, out = device_of(sae), x.clone()
    latents, to = edit.latents.to(device), edit.to.to(device, torch.float32)
    for part in out.split(chunk_size(sae.d_sae, device, memory)):  # views, written to
        rows = part.to(device, torch.float32)
        codes = sae.encode(rows)
        fires = codes[:, latents] > 0
        changed = fires.any(1)
        before, rows = codes[changed], rows[changed]
        after = before.clone()
        after[:, latents] = torch.where(fires[changed], to, before[:, latents])
        moved = rows + decode_like(sae, after, rows) - decode_like(sae, before, rows)
        part[changed.to(part.device)] = moved.to(part.device, part.dtype)
    return out
