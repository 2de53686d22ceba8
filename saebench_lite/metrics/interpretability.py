"""How well texts on which a latent fires are told from others by similarity alone. Pure; references in the tests.

Source: Paulo & Belrose, arXiv:2507.08473 (intruder detection, example embedding); the scorers of EleutherAI's delphi.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saebench_lite.metrics.classification import auroc


def example_scores(to_positive: Tensor, to_negative: Tensor) -> Tensor:
    """Mean similarity to examples of firing less that to examples of silence. [..., q, p], [..., q, n] -> [..., q]"""
    return to_positive.mean(-1) - to_negative.mean(-1)


def example_auroc(cosines: Tensor, firing: Tensor, examples: Tensor) -> Tensor:
    """AUROC of `example_scores` of query texts against whether the latent fires on them, ties counted half.

    Args:
        cosines: of queries with examples. [q, e]
        firing: whether it fires on a query. [q] bool
        examples: whether it fires on an example. [e] bool
    """
    scores = example_scores(cosines[:, examples], cosines[:, ~examples])
    return auroc(scores[firing], scores[~firing])


def intruder_accuracy(cosines: Tensor, intruder: Tensor) -> Tensor:
    """Share of groups of n texts whose intruder is least like the others; of t texts tied for that, each counts 1 / t.

    So an encoder that says nothing scores 1 / n. cosines [..., groups, n, n], intruder [..., groups] long -> [...]
    """
    others = ~torch.eye(cosines.shape[-1], dtype=torch.bool, device=cosines.device)
    likeness = torch.where(others, cosines, 0.0).sum(-1)
    least = likeness <= likeness.amin(-1, keepdim=True) + 1e-9  # sums of equal terms in another order
    hit = least.gather(-1, intruder[..., None])[..., 0]
    return (hit / least.sum(-1)).double().mean(-1)


def balanced_accuracy(says: Tensor, truth: Tensor) -> Tensor:
    """Mean of the shares of positives and of negatives that are judged right; who says yes to all scores 1/2.

    says [n]: 1 yes, 0 no, NaN an answer that is neither, which is half right. truth [n] bool, of both kinds.
    """
    right = torch.where(truth, says.double(), 1 - says.double()).nan_to_num(0.5)
    return (right[truth].mean() + right[~truth].mean()) / 2
