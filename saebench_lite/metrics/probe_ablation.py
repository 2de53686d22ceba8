"""Formulas of SCR and TPP: latents ranked by what they add to a probe, and the probe's accuracy without them.

Source: Karvonen et al., arXiv:2411.18895, and SAEBench, arXiv:2503.09532. With a linear decoder, taking latents S out
of all tokens of a text takes sum_{j in S} f_j (w . d_j) out of a probe's score w . x + b of the text's mean activation,
f_j being the latent's mean code and d_j its decoder row: no text is encoded twice.
"""

from __future__ import annotations

from torch import Tensor


def node_effects(codes: Tensor, positive: Tensor, pull: Tensor) -> Tensor:
    """Difference of a latent's mean code between classes times its pull on the probe. [m] float64

    Args:
        codes: pooled codes of training texts. [n, m]
        positive: their labels. [n] bool
        pull: dot product of each decoder row with the probe's weight. [m]
    """
    codes = codes.double()
    return (codes[positive].mean(0) - codes[~positive].mean(0)) * pull.double()


def chosen_latents(effects: Tensor, n: int) -> Tensor:
    """The n latents of the largest positive effects [m], fewer where fewer are positive; ties by index. [k] long"""
    order = effects.sort(descending=True, stable=True).indices[:n]
    return order[effects[order] > 0]


def accuracy_without(score: Tensor, codes: Tensor, pull: Tensor, positive: Tensor) -> float:
    """Accuracy of a probe after the ablation of some latents.

    Args:
        score: of the probe on each text; above 0 is yes. [n]
        codes: pooled codes of the ablated latents. [n, k]
        pull: dot product of their decoder rows with the probe's weight. [k]
        positive: labels. [n] bool
    """
    left = score.double() - codes.double() @ pull.double()
    return ((left > 0) == positive).double().mean().item()


def scr(ablated: float, biased: float, own: float) -> float:
    """Spurious correlation removal: share of the way from the biased probe's accuracy to that of a probe of the task.

    0 where that way is below 0.001. All are accuracies on the same texts.

    Args:
        ablated: of the biased probe without the latents.
        biased: of the biased probe.
        own: of the probe trained on unbiased texts.
    """
    return (ablated - biased) / (own - biased) if own - biased >= 0.001 else 0.0


def tpp(drop: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Targeted probe perturbation of each class: total, intended and unintended loss of accuracy. [c] each

    drop [c, c]: row i, column k, the accuracy that probe k loses without the latents of class i. Total is intended
    less unintended, the mean over the other classes.
    """
    intended = drop.diagonal()
    unintended = (drop.sum(1) - intended) / max(1, len(drop) - 1)
    return intended - unintended, intended, unintended
