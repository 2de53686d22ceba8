"""Attention probe: reads all tokens of a text and learns which of them to listen to.

Token t with activation x_t scores x_t . a; the softmax of the scores over the text weighs the tokens' votes x_t . w,
and their sum plus a bias is the text's logit. Columns are standardised by the training tokens; full-batch Adam (rate
0.01, 200 steps) with a decoupled weight decay of 1, 0.1 or 0.01 chosen by validation AUROC. Folds and decays are
trained side by side, in one pass over the tokens a step.
Source: Kantamneni et al., arXiv:2502.16681, appendix on the attention probe. They keep the step with the best
validation AUROC; here the number of steps is fixed and the decay is validated.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.activations.acts import Acts
from saebench_lite.api.baseline import Baseline
from saebench_lite.probes.baseline_scores import best_of, fold_masks
from saebench_lite.probes.side_by_side import train_side_by_side
from saebench_lite.stats.seeds import derive_seed

STEPS = 200
RATE = 0.01
DECAYS = (1.0, 0.1, 0.01)


class Probes(NamedTuple):
    """q probes side by side."""

    weight: Tensor
    "What to attend to, then how to vote. [d, 2 q]"
    bias: Tensor
    "[q]"


def logits(probes: Probes, x: Tensor, owner: Tensor, texts: int) -> Tensor:
    """Logits [q, texts].

    Args:
        probes: q probes.
        x: activations of all tokens [t, d].
        owner: each token's text [t].
        texts: how many texts.
    """
    score, vote = (x @ probes.weight).chunk(2, dim=1)
    index = owner[:, None].expand_as(score)
    highest = score.detach().new_zeros(texts, score.shape[1])
    highest = highest.scatter_reduce(0, index, score.detach(), "amax", include_self=False)
    weight = (score - highest.index_select(0, owner)).exp()
    total = torch.zeros_like(highest).index_add(0, owner, weight)
    votes = torch.zeros_like(highest).index_add(0, owner, weight * vote)
    return (votes / total + probes.bias).T


def train(x: Tensor, owner: Tensor, y: Tensor, train_mask: Tensor, decays: tuple[float, ...]) -> Probes:
    """Probes that learn from their own texts with their own decay.

    Args:
        x: activations of all tokens [t, d].
        owner: each token's text [t].
        y: labels [n].
        train_mask: which texts each probe learns from [q, n] bool.
        decays: weight decay of each probe.
    """
    many, d = len(decays), x.shape[1]
    generator = torch.Generator().manual_seed(derive_seed("attention_probe", d))
    start = 1e-3 * torch.randn(2, d, 1, generator=generator).expand(-1, -1, many)
    probes = Probes(
        torch.cat(list(start), 1).to(x).requires_grad_(),
        x.new_zeros(many, requires_grad=True),
    )
    shrinkage = [(probes.weight, 1 - RATE * torch.tensor(decays, device=x.device).repeat(2))]
    train_side_by_side(
        probes, lambda: logits(probes, x, owner, len(y)), y, train_mask, shrinkage, steps=STEPS, rate=RATE
    )
    return Probes(*(w.detach() for w in probes))


def tokens(acts: Acts, device: torch.device) -> tuple[Tensor, Tensor]:
    """Activations [t, d] float32 and each one's text [t]."""
    owner = torch.repeat_interleave(torch.arange(len(acts)), acts.offsets.diff())
    return acts.x.to(device, torch.float32), owner.to(device)


def classify_tokens(train_acts: Acts, y: Tensor, judged: Acts) -> Tensor:
    """Logits of the probe with the best decay. train_acts: n texts, y [n], judged: m texts -> [m]"""
    x, owner = tokens(train_acts, y.device)
    mean, sd = x.mean(0), x.std(0, correction=0).clamp(min=1e-6)
    x = (x - mean) / sd
    masks = torch.cat([fold_masks(y), torch.ones_like(y, dtype=torch.bool)[None]])
    probes = train(x, owner, y, masks.repeat_interleave(len(DECAYS), 0), DECAYS * len(masks))
    margins = logits(probes, x, owner, len(train_acts)).unflatten(0, (len(masks), len(DECAYS)))
    best = best_of(y, margins[:-1]) - len(DECAYS)
    x, owner = tokens(judged, y.device)
    return logits(probes, (x - mean) / sd, owner, len(judged))[best]


BASELINE = Baseline(
    name="attention_probe",
    description="a probe that attends to the tokens of a text",
    kind="baseline",
    classify_tokens=classify_tokens,
    default=False,
)
