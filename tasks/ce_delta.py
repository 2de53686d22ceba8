"""CE-loss delta: how much worse does the model predict when it reads the reconstruction instead of the activation?

At every real token of the hook point x is replaced by decode(encode(x)). Special tokens, and the attention sinks that
the site leaves out (models/token_rule.py), keep their activation and do not count as real. Over the predictions made
from real tokens, in nats: delta = CE(spliced) - CE(clean); loss recovered = (CE(ablated) - CE(spliced)) /
(CE(ablated) - CE(clean)) for zero ablation and for ablation to the mean activation of the sample; KL(clean || spliced)
of the next-token distributions. Log-softmax in float32, sums in float64.

Sources: SAEBench core, arXiv:2503.09532; loss recovered: Bricken et al. 2023. Where we differ from SAEBench 0.6.0:
- its zero ablation also wipes BOS, which alone ruins the model; here ablation and splice touch the same positions;
- its KL takes the log after the softmax and turns into NaN or infinity; here log-softmax on both sides;
- the clean and ablated losses are computed once per site, and a splice only runs the layers after the hook.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, assert_never

import torch
from torch import Tensor

from saebench_lite.activations.pooling import chunk_size
from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext
from saebench_lite.api.settings import Count, Range, Settings
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Reading, Scores, Task
from saebench_lite.errors import NotApplicable
from saebench_lite.files import digest
from saebench_lite.metrics.next_token import comparable, losses, losses_and_divergence
from saebench_lite.models.protocol import Prefix
from saebench_lite.records.metric import Metric
from saebench_lite.saes.protocol import SAE, device_of
from saebench_lite.saes.sparse_codes import reconstruct_rows
from saebench_lite.tasks._sampled_texts import sampled, sampled_tokens
from saebench_lite.tasks._spliced_batches import Piece, by_block, by_text, counted, real_rows, replace_real

if TYPE_CHECKING:
    from saebench_lite.models.tokens import TokenBatch

_fidelity = partial(Metric, construct="fidelity")

CARD = Card(
    name="ce_delta",
    version=1,
    description="what splicing the reconstruction into the model costs in next-token loss",
    source="SAEBench core, arXiv:2503.09532",
    headline=("ce_delta", "loss_recovered"),
    metrics=(
        _fidelity(name="ce_delta", meaning="spliced minus clean loss", better="lower", unit="nats"),
        _fidelity(
            name="loss_recovered",
            meaning="1: lossless, 0: as bad as zero ablation, above 1: better than without the splice",
            better="higher",
        ),
        _fidelity(name="loss_recovered_mean", meaning="the same against mean ablation", better="higher"),
        _fidelity(
            name="kl", meaning="KL of clean from spliced predictions", better="lower", unit="nats", lower_bound=0.0
        ),
        _fidelity(
            name="ce_spliced", meaning="loss with the reconstruction", better="lower", unit="nats", lower_bound=0.0
        ),
        _fidelity(
            name="ce_clean", meaning="loss of the untouched model", better="neither", unit="nats", lower_bound=0.0
        ),
        _fidelity(
            name="ce_zero", meaning="loss with zeros at the hook", better="neither", unit="nats", lower_bound=0.0
        ),
        _fidelity(
            name="ce_mean",
            meaning="loss with the mean activation at the hook",
            better="neither",
            unit="nats",
            lower_bound=0.0,
        ),
    ),
    requires_next_token=True,
    seeded=False,
)


Ablated = Literal["real", "all"]
LOGITS = 1 << 22
"Of a batch on a CPU: larger tables come from fresh pages, whose zeroing costs a fifth of the time."
PASSES_CODE = 1
"Grows with each change of how `_passes` comes to its numbers: cached ones are not read then."


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    max_tokens: Count = 20_000
    "Tokens read at most: texts are taken evenly spaced until there are as many."
    context: Annotated[int, Range(3)] = 256
    "Tokens of a text at most, special ones included (fewer where the model takes fewer)."
    blocks: Count = 32
    "Groups of texts, the units of the bootstrap."
    ablate: Ablated = "real"
    "Whether zero ablation spares special tokens or, as in SAEBench, wipes them too."


class Shared(NamedTuple):
    pieces: list[Piece]
    clean: Tensor
    zero: Tensor
    mean: Tensor
    "Summed losses by block. [blocks] float64 each"
    tokens: Tensor
    "Predictions by block. [blocks] float64"


def _wiped(piece: Piece, zero: Tensor, ablate: Ablated) -> Tensor:
    """The activation [b, L, d] with zeros [n_real, d] at its real positions, or at all."""
    match ablate:
        case "real":
            return replace_real(piece, zero)
        case "all":
            return torch.zeros_like(piece.prefix.acts)
        case _:
            assert_never(ablate)


@torch.no_grad()
def prepare(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> Shared:
    """Batches with all that a splice needs; what the model's passes give is read from the cache where it is there."""
    lm = ctx.lm
    if not lm.is_causal:
        raise NotApplicable(f"{lm.name} is an encoder and has no next-token loss")
    if not ctx.data.texts:
        raise NotApplicable(f"data source {ctx.data.name!r} has no texts")
    ids = [row for _, row in sampled(ctx, cfg.max_tokens, cfg.context) if len(row) > 2]
    if not ids:
        raise NotApplicable("no text is long enough for a next-token prediction")
    block_of = torch.arange(len(ids)) * min(cfg.blocks, len(ids)) // len(ids)
    batches = list(lm.batches(ids, max_tokens=_batch_tokens(ctx)))
    identity = [PASSES_CODE, digest(ids), asdict(cfg), _batch_tokens(ctx)]
    stored = ctx.prepared("ce_delta passes", identity, lambda: _passes(ctx, cfg, batches, block_of))
    pieces = [_piece(stored, i, batch, block_of[rows]) for i, (rows, batch) in enumerate(batches)]
    if 4 * lm.vocabulary * sum(p.batch.ids.numel() for p in pieces) <= ctx.memory // 2:
        pieces = [p._replace(clean=comparable(lm.logits_from_final(p.batch, p.final))) for p in pieces]
    return Shared(pieces, *stored["sums"].cpu())


def _piece(stored: Mapping[str, Tensor], i: int, batch: TokenBatch, block: Tensor) -> Piece:
    """A batch with what `_passes` found for it.

    Args:
        stored: from `_passes`.
        i: place of the batch.
        batch: its tokens.
        block: bootstrap block of each text. [b]
    """
    of = {name: stored[f"{name} {i}"].to(batch.ids.device) for name in ("acts", "final", "real")}
    before = stored.get(f"block_input {i}")
    prefix = Prefix(of["acts"], None if before is None else before.to(batch.ids.device))
    return Piece(batch._replace(real=of["real"]), prefix, of["final"], block, of["real"].flatten().nonzero()[:, 0])


def _passes(
    ctx: EvalContext, cfg: Config, batches: Sequence[tuple[list[int], TokenBatch]], block_of: Tensor
) -> dict[str, Tensor]:
    """What the model's passes give: activations of each batch i as "acts i" and so on, and "sums" [4, blocks] float64.

    The rows of "sums": losses of the clean model, under zero and mean ablation, and the number of predictions.

    Args:
        ctx: the site.
        cfg: settings of the task.
        batches: row numbers and tokens.
        block_of: bootstrap block of each text. [texts]
    """
    lm, out = ctx.lm, dict[str, Tensor]()
    for i, (_, batch) in enumerate(batches):
        prefix, final = lm.prefix_and_final(batch, ctx.hook)
        out |= {f"acts {i}": prefix.acts, f"final {i}": final}
        out[f"real {i}"] = lm.positions(ctx.hook).read(batch.real, prefix.acts)
        if prefix.block_input is not None:
            out[f"block_input {i}"] = prefix.block_input
    pieces = [_piece(out, i, batch, block_of[rows]) for i, (rows, batch) in enumerate(batches)]
    total = torch.stack([real_rows(p).double().sum(0) for p in pieces]).sum(0)
    mean = (total / sum(len(p.at) for p in pieces)).float()
    sums: list[list[Tensor]] = [[], [], [], []]
    for piece in pieces:
        zero = torch.zeros(len(piece.at), ctx.d_in, device=lm.device)
        wiped = _wiped(piece, zero, cfg.ablate)
        for i, logits in enumerate(
            (
                lm.logits_from_final(piece.batch, piece.final),
                lm.logits_with(piece.batch, piece.prefix, wiped, ctx.hook),
                lm.logits_with(piece.batch, piece.prefix, replace_real(piece, zero + mean), ctx.hook),
            )
        ):
            sums[i].append(by_text(losses(logits, piece.batch.ids), piece))
        sums[3].append(counted(piece.batch).double().sum(1))
    n = int(block_of.max()) + 1
    return out | {"sums": torch.stack([by_block(row, pieces, n) for row in sums])}


@torch.no_grad()
def evaluate(subject: Subject, ctx: EvalContext, shared: Shared, cfg: Config, seeds: Sequence[int]) -> Scores:
    """Values of every metric for one subject.

    Args:
        subject: an SAE that reconstructs its input.
        ctx: the site.
        shared: token batches with their clean losses, from `prepare`.
        cfg: settings of the task.
        seeds: of the repetitions.
    """
    sae, lm = subject.require_autoencoder(), ctx.lm
    spliced, kl = list[Tensor](), list[Tensor]()
    for piece in shared.pieces:
        rows = reconstruction_rows(sae, real_rows(piece), ctx.memory)
        logits = lm.logits_with(piece.batch, piece.prefix, replace_real(piece, rows), ctx.hook)
        clean = comparable(lm.logits_from_final(piece.batch, piece.final)) if piece.clean is None else piece.clean
        loss, gap = losses_and_divergence(clean, logits, piece.batch.ids)
        spliced.append(by_text(loss, piece))
        kl.append(by_text(gap, piece))
    n = len(shared.tokens)
    return figures(shared, *(by_block(sums, shared.pieces, n) for sums in (spliced, kl)))


def reconstruction_rows(sae: SAE, x: Tensor, memory: int) -> Tensor:
    """Reconstructions [n, d] of activations [n, d], in chunks that fit `memory` bytes, on x's device."""
    device = device_of(sae)
    chunks = x.split(chunk_size(sae.d_sae, device, memory))
    return torch.cat([reconstruct_rows(sae, c.to(device, torch.float32)).to(x.device) for c in chunks])


def figures(shared: Shared, spliced: Tensor, kl: Tensor) -> Scores:
    """Scores from summed losses by block; ratios carry their denominators as weights."""
    out, nan = Scores(), float("nan")
    for i, tokens in enumerate(shared.tokens.tolist()):
        unit = f"block {i}"
        clean, zero, mean, with_sae = (t[i].item() for t in (shared.clean, shared.zero, shared.mean, spliced))
        per_token = {
            "ce_delta": with_sae - clean,
            "kl": kl[i].item(),
            "ce_spliced": with_sae,
            "ce_clean": clean,
            "ce_zero": zero,
            "ce_mean": mean,
        }
        for metric, total in per_token.items():
            out.add(metric, total / tokens if tokens else nan, unit=unit, weight=tokens)
        for metric, ablated in (("loss_recovered", zero), ("loss_recovered_mean", mean)):
            gap = ablated - clean
            out.add(metric, (ablated - with_sae) / gap if gap > 0 else nan, unit=unit, weight=max(gap, 0.0))
    out.diagnostics = {"predictions": int(shared.tokens.sum())}
    return out


def _batch_tokens(ctx: EvalContext) -> int:
    """Tokens such that a few float32 logit tables fit the memory budget, and on a CPU are not large (`LOGITS`)."""
    logits = min(ctx.memory // 16, LOGITS if ctx.lm.device.type == "cpu" else ctx.memory)
    return max(256, min(ctx.batch_tokens, logits // ctx.lm.vocabulary))


def reads(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> Reading:
    """The texts clean, and with zeros and means put in; with each subject's reconstructions."""
    tokens = sampled_tokens(ctx, cfg.max_tokens, cfg.context)
    return Reading(3 * tokens, tokens)


TASK = Task(CARD, Config, prepare, evaluate, reads=reads)
