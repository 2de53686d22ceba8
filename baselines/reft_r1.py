"""ReFT-r1: one direction that both detects a concept and steers towards it, trained through the language model.

At every token t of a text with activation h_t the direction w (unit norm) reads a_t = relu(h_t . w), and the model goes
on from h_t + m w, m the mean of the text's 8 largest a_t. Loss: next-token cross-entropy plus 0.005 times the other
a_t, summed and divided by the number of tokens; that weight grows from 0 over the training. AdamW, rate 0.48 / sqrt(d)
falling to 0 (AxBench's 0.01 at its width of 2,304), gradient norm at most 1, three epochs. A text's score is its
largest h_t . w.
Source: AxBench (Wu et al., arXiv:2501.17148, section 3.4 and appendix), after Wu et al., arXiv:2404.03592.
Where we differ:
- AxBench's targets are responses to an instruction; here a positive text is its own target. Its negatives are responses
  that the model itself gave, so that steering on them costs likelihood; here the target on a negative text is the
  model's own next-token distribution, which the data need not be written by the model for;
- at most 72 texts of each class are used (its sets have as many), in 24 batches an epoch, as its batches of 6 are;
- w starts at a random direction from a fixed seed, not at ones, on which a_t can be 0 everywhere;
- the score keeps its sign, so that texts on which w never fires are ranked too.
Needs a causal language model.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from saebench_lite.api.baseline import Baseline
from saebench_lite.api.context import EvalContext
from saebench_lite.api.probe_types import Direction
from saebench_lite.data.types import Corpus
from saebench_lite.errors import NotApplicable
from saebench_lite.models.protocol import Model
from saebench_lite.models.tokens import TokenBatch
from saebench_lite.stats.seeds import derive_seed, rng

TEXTS, EPOCHS, BATCHES, RATE, TOP, SPARSITY = 72, 3, 24, 0.48, 8, 0.005


def fit(ctx: EvalContext, corpus: Corpus, rows: Tensor, y: Tensor) -> Direction:
    """The direction of one concept.

    Args:
        ctx: the site.
        corpus: texts.
        rows: the texts to learn from [n].
        y: their labels [n] bool.
    """
    if not ctx.lm.is_causal:
        raise NotApplicable(f"{ctx.lm.name} has no next-token head to train through")
    y = y.bool()
    rows, y = (torch.cat([a[label][:TEXTS] for label in (y, ~y)]) for a in (rows, y))
    texts = [corpus.texts[row] for row in rows.tolist()]
    context = min(corpus.context or ctx.lm.context, ctx.lm.context)
    ids = ctx.lm.tokenize(texts, context=context, long_texts=corpus.long_texts)
    weight = train(ctx.lm, ctx.hook, ids, y)
    return Direction(weight.double()[None], weight.new_zeros(1, dtype=torch.float64))


@torch.enable_grad()
def train(lm: Model, hook: str, ids: list[list[int]], y: Tensor) -> Tensor:
    """Unit direction [d] of some texts.

    Args:
        lm: the model.
        hook: hook point the direction is read at and added to.
        ids: token ids of each text.
        y: labels [n] bool.
    """
    start = torch.randn(lm.hook_width(hook), generator=torch.Generator().manual_seed(derive_seed("reft_r1")))
    weight = (start / start.norm()).to(lm.device).requires_grad_()
    optimiser = torch.optim.AdamW([weight], lr=RATE / len(weight) ** 0.5, weight_decay=0.0)
    draw, total = rng("reft_r1", len(ids)), EPOCHS * min(BATCHES, len(ids))
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=total)
    rows = [part for _ in range(EPOCHS) for part in np.array_split(draw.permutation(len(ids)), total // EPOCHS)]
    for step, part in enumerate(rows):
        ((order, batch),) = lm.batches([ids[i] for i in part], max_tokens=sum(map(len, ids)) * len(part))
        optimiser.zero_grad()
        loss(lm, hook, batch, y[torch.as_tensor(part)[order]], weight, SPARSITY * step / total).backward()
        torch.nn.utils.clip_grad_norm_([weight], 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            weight /= weight.norm().clamp(min=1e-12)
    return weight.detach()


def loss(lm: Model, hook: str, batch: TokenBatch, y: Tensor, weight: Tensor, sparsity: float) -> Tensor:
    """The loss of a batch of texts under a direction.

    Args:
        lm: the model.
        hook: hook point the direction is read at and added to.
        batch: token ids of b texts.
        y: labels [b] bool.
        weight: the direction [d].
        sparsity: weight of the activations that are not among the largest.
    """
    prefix = lm.prefix(batch, hook)
    h, real = prefix.acts.float(), lm.positions(hook).read(batch.real, prefix.acts)
    fires = torch.relu(h @ weight) * real
    top = fires.topk(min(TOP, fires.shape[1]), dim=1).values
    length = real.sum(1)
    mean = top.sum(1) / length.clamp(1, TOP)
    steered = h + mean[:, None, None] * real[:, :, None] * weight
    steered_logits = lm.logits_with(batch, prefix, steered, hook, gradients=True)[:, :-1].float()
    model_logits = lm.logits_with(batch, prefix, prefix.acts, hook)[:, :-1].float()
    counted, positive = real[:, 1:], y.to(real.device)[:, None]
    positives, negatives = counted & positive, counted & ~positive
    entropy = torch.nn.functional.cross_entropy(steered_logits[positives], batch.ids[:, 1:][positives], reduction="sum")
    entropy = entropy + torch.nn.functional.cross_entropy(
        steered_logits[negatives], model_logits[negatives].softmax(-1), reduction="sum"
    )
    others = (fires.sum(1) - top.sum(1)) / length.clamp(min=1)
    return entropy / counted.sum().clamp(min=1) + sparsity * others.mean()


BASELINE = Baseline(
    name="reft_r1",
    description="a direction trained through the language model to detect and steer (AxBench's ReFT-r1)",
    kind="baseline",
    model_probe=fit,
    default=False,
)
