"""What each construct is in a world, as numbers of a dictionary's codes and decoder. Pure functions.

They read the generator's own features, never the texts, labels or probes of a task:
- recovery: average precision of the best latent for each true feature in the dictionary's reach, mean over features;
  mean |cos| of matched decoder rows and true directions (SynthSAEBench's MCC, arXiv:2602.14687);
- fidelity: explained variance of the activation without its noise; mean divergence (KL, nats) of the next-token
  distribution of the reconstruction from that of the activation without its noise;
- sparsity: log of the firings per token; share of latents that never fire, and of those that fire on more than 10 %
  of tokens;
- hierarchy: share of a root's firings at which its latent is silent where a child fires, above the share where none
  does; share of its firings where no child fires that another latent of its own shows;
- pathology: the share by which least squares on the activation without its noise would change the codes of the median
  latent that writes; share of latents that write and whose codes it would raise by a tenth; share with the direction
  of another one; share whose codes correlate with the activation's norm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.audit.dose_edits import LEAK, WRITTEN, Dictionary, root_child_pairs
from saebench_lite.metrics.pathologies import NORM_DETECTOR, SHRUNKEN
from saebench_lite.probes.best_latents import Samples, best_latent_scores
from saebench_lite.records.metric import Construct
from saebench_lite.worlds import truth

SAMPLES = 4096
"First samples, on which average precision and silence are computed."
DENSE = 0.1
"Firing rate above which a latent is dense."
SAME = 0.999
"Cosine above which two latents have one direction."
OWN = 0.5
"Share of a latent's firings that must be a root's for the latent to be the root's own."


class Quantity(NamedTuple):
    """One number that a construct is in a world."""

    construct: Construct
    better: float
    "1 where more is better, -1 where less is."


QUANTITIES = {
    "best-latent AP": Quantity("recovery", 1.0),
    "MCC": Quantity("recovery", 1.0),
    "true explained variance": Quantity("fidelity", 1.0),
    "divergence": Quantity("fidelity", -1.0),
    "log L0": Quantity("sparsity", -1.0),
    "dead share": Quantity("sparsity", -1.0),
    "dense share": Quantity("sparsity", -1.0),
    "absorbed share": Quantity("hierarchy", -1.0),
    "split share": Quantity("hierarchy", -1.0),
    "size error": Quantity("pathology", -1.0),
    "shrunken share": Quantity("pathology", -1.0),
    "duplicate share": Quantity("pathology", -1.0),
    "norm share": Quantity("pathology", -1.0),
}
"Quantities by name."


class Planted(NamedTuple):
    """What a dictionary is compared with."""

    fires: Tensor
    "Whether the features of the planted latents fire. [samples, planted] bool"
    clean: Tensor
    "Activations without noise and bias. [samples, d]"
    directions: Tensor
    "True directions of the planted latents. [planted, d]"
    bias: Tensor
    "[d]"
    to_logits: Callable[[Tensor], Tensor]
    "Next-token logits of activations with their bias."


def quantities(edited: Dictionary, planted: Planted) -> dict[str, float]:
    """All quantities of a dictionary; NaN where one is not defined, as absorption is where no root has a latent."""
    rate = (edited.codes != 0).float().mean(0)
    error = edited.codes @ edited.decoder - planted.clean
    spread = planted.clean - planted.clean.mean(0)
    clean = planted.to_logits(planted.clean[:SAMPLES] + planted.bias).double().log_softmax(-1)
    spliced = planted.to_logits((planted.clean + error)[:SAMPLES] + planted.bias).double().log_softmax(-1)
    absorbed, split = silence(edited, planted.fires[:SAMPLES])
    return {
        "best-latent AP": best_latent_ap(edited.codes[:SAMPLES], planted.fires[:SAMPLES]),
        "MCC": truth.mcc(truth.cosines(edited.decoder, planted.directions)),
        "true explained variance": 1 - (error.double().square().sum() / spread.double().square().sum()).item(),
        "divergence": (clean.exp() * (clean - spliced)).sum(-1).mean().item(),
        "log L0": rate.sum().log().item(),
        "dead share": (rate == 0).float().mean().item(),
        "dense share": (rate > DENSE).float().mean().item(),
        "absorbed share": absorbed,
        "split share": split,
        **pathologies(edited, error),
    }


def pathologies(edited: Dictionary, error: Tensor) -> dict[str, float]:
    """Quantities of the construct pathology. error [n, d]: reconstruction less activation without noise"""
    norms = edited.decoder.norm(dim=1)
    writes = norms > 10 * WRITTEN
    energy = edited.codes.double().square().sum(0) * norms.double().square()
    along = -(edited.codes * (error @ edited.decoder.T)).sum(0, dtype=torch.float64)
    multiple = 1 + (along / energy)[writes & (energy > 0)]
    same = torch.nn.functional.normalize(edited.decoder, dim=1)
    cosine = (same @ same.T).fill_diagonal_(0.0)
    follows = correlations(edited.codes, edited.norms[:, None])
    return {
        "size error": abs(multiple.quantile(0.5).item() - 1),
        "shrunken share": (multiple >= SHRUNKEN).sum().item() / len(norms),
        "duplicate share": (cosine > SAME).any(1).double().mean().item(),
        "norm share": (follows.abs() >= NORM_DETECTOR).double().mean().item(),
    }


def best_latent_ap(codes: Tensor, fires: Tensor) -> float:
    """Mean over the features that fire of the average precision of their best latent. codes [n, h], fires [n, N]"""
    of = Samples(codes, fires[:, fires.any(0) & ~fires.all(0)])
    return best_latent_scores(of, of).precision.mean().item()


def correlations(x: Tensor, y: Tensor) -> Tensor:
    """Pearson correlations of columns, 0 for constant ones: x [n, h], y [n, m] -> [h, m]."""
    x, y = x - x.mean(0), y - y.mean(0)
    return (x.T @ y) / (x.norm(dim=0)[:, None] * y.norm(dim=0)).clamp(min=1e-12)


def silence(edited: Dictionary, fires: Tensor) -> tuple[float, float]:
    """(absorbed share, split share), means over the roots that have a latent of their own; NaN where none has.

    A latent is a root's own if it correlates more with it than with any other planted feature and half of its firings
    are the root's; the root's latent is the own one that correlates most. Absorbed: P(silent | root and a child fire)
    - P(silent | root fires alone). Split: share of the firings alone at which the latent is silent and another own
    one fires. A code at the level of a leak counts as silent. fires [n, planted] bool, of the first n samples
    """
    codes = edited.codes[: len(fires)]
    on = codes > LEAK
    pairs = root_child_pairs(edited)
    near = correlations(codes, fires.float())
    feature = near.argmax(1)
    absorbed, split = [], []
    for root in sorted({int(r) for r, _ in pairs}):
        children = [int(c) for r, c in pairs if r == root]
        true, child = fires[:, root], fires[:, children].any(1)
        own = (feature == root) & (on[true].float().sum(0) >= OWN * on.float().sum(0).clamp(min=1))
        alone, both = true & ~child, true & child
        if not own.any() or not alone.any() or not both.any():
            continue
        latent = int(near[:, root].masked_fill(~own, -2.0).argmax())
        silent = ~on[:, latent]
        own[latent] = False
        absorbed.append((silent[both].float().mean() - silent[alone].float().mean()).item())
        split.append((silent & on[:, own].any(1))[alone].float().mean().item())
    means = [sum(x) / len(x) if x else float("nan") for x in (absorbed, split)]
    return means[0], means[1]
