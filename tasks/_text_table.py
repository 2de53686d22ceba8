"""Texts with the model's state at the hook, and the divergence of predictions after edits of single activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.api.context import EvalContext
from saebench_lite.metrics.effects import kl_divergence
from saebench_lite.models.protocol import Prefix
from saebench_lite.models.tokens import TokenBatch
from saebench_lite.saes.protocol import SAE, decode_like, device_of


class TextTable(NamedTuple):
    """Texts of one length after padding; all on the model's device."""

    batch: TokenBatch
    "`real` are the positions that statistics read at the hook. [n, L] each"
    prefix: Prefix
    "[n, L, d]"
    final: Tensor
    "Output of the last block. [n, L, d]"

    def rows(self, texts: Tensor, length: int) -> tuple[TokenBatch, Prefix]:
        """The first `length` positions of some texts [b], copies."""
        batch = TokenBatch(*(t[texts, :length] for t in self.batch))
        acts, before = self.prefix
        return batch, Prefix(acts[texts, :length], None if before is None else before[texts, :length])


class Edits(NamedTuple):
    """What is taken from activations in each of j copies of texts, and where predictions are compared."""

    text: Tensor
    "Of the table. [j]"
    copy: Tensor
    "Which copy an edit is in. [e]"
    position: Tensor
    "[e]"
    taken: Tensor
    "Subtracted from the activation. [e, d]"
    compared: Tensor
    "Positions whose predictions are compared. [j, L] bool"


@torch.no_grad()
def text_table(ctx: EvalContext, texts: Sequence[str], context: int) -> TextTable:
    """The table of texts, cut to `context` tokens."""
    lm = ctx.lm
    ids = lm.tokenize(texts, context=min(context, lm.context), long_texts="cut_right")
    length = max(map(len, ids))
    parts: dict[str, Tensor] = {}

    def put(name: str, rows: Sequence[int], value: Tensor) -> None:
        if name not in parts:
            parts[name] = value.new_zeros(len(ids), length, *value.shape[2:])
        parts[name][torch.tensor(list(rows), device=value.device), : value.shape[1]] = value

    for rows, batch in lm.batches(ids, max_tokens=ctx.batch_tokens):
        prefix, final = lm.prefix_and_final(batch, ctx.hook)
        put("ids", rows, batch.ids)
        put("attention", rows, batch.attention)
        put("real", rows, lm.positions(ctx.hook).read(batch.real, prefix.acts))
        put("acts", rows, prefix.acts)
        put("final", rows, final)
        if prefix.block_input is not None:
            put("before", rows, prefix.block_input)
    batch = TokenBatch(parts["ids"], parts["attention"], parts["real"])
    return TextTable(batch, Prefix(parts["acts"], parts.get("before")), parts["final"])


@torch.no_grad()
def divergences(ctx: EvalContext, table: TextTable, edits: Edits) -> Tensor:
    """KL of the untouched from the edited next-token predictions, 0 where they are not compared. [j, L] float64

    Only what comes after the hook runs, on the tokens up to the last one compared.
    """
    out = torch.zeros(edits.compared.shape, dtype=torch.float64)
    places = torch.arange(1, edits.compared.shape[1] + 1)
    lengths = (edits.compared * places).amax(1) if len(edits.text) else places[:0]
    order = lengths.argsort(descending=True, stable=True)
    order = order[lengths[order] > 0]
    budget = max(1, min(ctx.batch_tokens, ctx.memory // (20 * ctx.lm.vocabulary)))
    start = 0
    while start < len(order):
        length = int(lengths[order[start]])
        copies = order[start : start + max(1, budget // length)]
        start += len(copies)
        out[copies, :length] = _batch(ctx, table, edits, copies, length)
    return out


def _batch(ctx: EvalContext, table: TextTable, edits: Edits, copies: Tensor, length: int) -> Tensor:
    """`divergences` of some copies [b] on their first `length` positions. [b, length]"""
    device = table.batch.ids.device
    batch, prefix = table.rows(edits.text[copies].to(device), length)
    place = torch.full((len(edits.text),), -1)
    place[copies] = torch.arange(len(copies))
    row = place[edits.copy]
    use = (row >= 0) & (edits.position < length)
    acts = prefix.acts.float()
    acts.index_put_(
        (row[use].to(device), edits.position[use].to(device)), -edits.taken[use].to(device), accumulate=True
    )
    logits = ctx.lm.logits_with(batch, prefix, acts, ctx.hook)
    at = edits.compared[copies, :length]
    b, t = (i.to(device) for i in at.nonzero(as_tuple=True))
    out = torch.zeros(at.shape, dtype=torch.float64)
    out[at] = kl_divergence(_clean(ctx, table, batch, edits.text[copies].to(device)[b], b, t), logits[b, t]).cpu()
    return out


def _clean(ctx: EvalContext, table: TextTable, batch: TokenBatch, text: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Logits [p, V] of the untouched model at positions t [p] of texts [p], rows b [p] of the batch."""
    one = TokenBatch(*(part[b, t][:, None] for part in batch))
    return ctx.lm.logits_from_final(one, table.final[text, t][:, None])[:, 0]


@torch.no_grad()
def contributions(sae: SAE, x: Tensor, latents: Tensor, rows: int) -> Tensor:
    """What single latents write: reconstruction minus that without the latent. [n, d]

    Args:
        sae: an SAE.
        x: activations. [n, d]
        latents: one a row. [n]
        rows: encoded at once.
    """
    device, out = device_of(sae), []
    for part, latent in zip(x.split(rows), latents.split(rows), strict=True):
        part = part.to(device, torch.float32)
        f = sae.encode(part)
        without = f.clone()
        without[torch.arange(len(f), device=device), latent.to(device)] = 0
        out.append((decode_like(sae, f, part) - decode_like(sae, without, part)).to(x.device))
    return torch.cat(out) if out else x[:0].float()
