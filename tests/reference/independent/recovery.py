"""Sparse probing and concept detection on tables of pooled codes."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, precision_recall_curve, roc_auc_score

from tests.reference.independent.draws import balanced, natural

PREVALENCE = 0.05
STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)


class Found(dict[str, float]):
    """Figures of one concept, and the latents that were picked."""

    def __init__(self) -> None:
        super().__init__()
        self.latents: dict[str, int] = {}


def difference(codes: np.ndarray, y: np.ndarray, prevalence: float) -> np.ndarray:
    """Difference of class means over the standard deviation within classes at a prevalence; 0 where it never fires."""
    yes, no = codes[y], codes[~y]
    within = np.sqrt(prevalence * yes.var(0) + (1 - prevalence) * no.var(0))
    gap = yes.mean(0) - no.mean(0)
    return np.divide(gap, within, out=np.zeros_like(gap), where=within > 0)


def rare_precision(scores: np.ndarray, y: np.ndarray) -> float:
    """Average precision of test scores with each class weighted to a prevalence of 5 %."""
    weight = np.where(y, PREVALENCE / y.sum(), (1 - PREVALENCE) / (~y).sum())
    return float(average_precision_score(y, scores, sample_weight=weight))


def detector(codes: np.ndarray, y: np.ndarray, train: np.ndarray, seed: int) -> tuple[int, float]:
    """The latent with the largest standardised difference, and its average precision. codes [texts, m]"""
    learn, judge = natural(y, train, seed)
    latent = int(difference(codes[learn], y[learn], PREVALENCE).round(9).argmax())
    return latent, rare_precision(codes[judge, latent], y[judge])


def probe(x: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Margins on test rows of a logistic regression whose strength is chosen by validation. x [n, k], y [n] bool"""
    mean, sd = x.mean(0), x.std(0)
    sd[sd == 0] = 1.0
    x, test = (x - mean) / sd, (test - mean) / sd
    fifth = np.empty(len(y), dtype=int)
    for label in (True, False):
        members = np.flatnonzero(y == label)
        fifth[members] = np.arange(len(members)) * 5 // len(members)
    losses = np.zeros(len(STRENGTHS))
    for fold in [4] if len(y) >= 128 else range(5):
        for i, c in enumerate(STRENGTHS):
            margin = fit(x[fifth != fold], y[fifth != fold], c).decision_function(x[fifth == fold])
            losses[i] += np.logaddexp(0, np.where(y[fifth == fold], -margin, margin)).sum()
    return fit(x, y, STRENGTHS[int(losses.argmin())]).decision_function(test)


def fit(x: np.ndarray, y: np.ndarray, c: float, **options: Any) -> LogisticRegression:
    """scikit-learn's logistic regression, converged."""
    return LogisticRegression(C=c, solver="newton-cholesky", tol=1e-10, max_iter=1000, **options).fit(x, y)


def sparse_probing(
    tables: dict[str, np.ndarray], y: np.ndarray, train: np.ndarray, seed: int, ks: tuple[int, ...]
) -> Found:
    """Figures of the task `sparse_probing` for one concept.

    Args:
        tables: pooling -> codes [texts, m].
        y: whose texts are about the concept. [texts] bool
        train: texts for training. [texts] bool
        seed: of the draws.
        ks: how many latents a probe sees.
    """
    out = Found()
    for pooling, codes in tables.items():
        out.latents[pooling], out[f"average_precision_{pooling}"] = detector(codes, y, train, seed)
    learn, judge = balanced(y, train, seed)
    for pooling in ("mean", "last"):
        codes = tables[pooling]
        order = np.argsort(-np.abs(difference(codes[learn], y[learn], 0.5)).round(9), kind="stable")
        out.latents[f"probe {pooling}"] = int(order[0])
        for k in ks:
            chosen = order[:k]
            margin = probe(codes[learn][:, chosen], y[learn], codes[judge][:, chosen])
            out[f"auroc_k{k}_{pooling}"] = float(roc_auc_score(y[judge], margin))
            out[f"accuracy_k{k}_{pooling}"] = float(accuracy_score(y[judge], margin > 0))
            out[f"f1_k{k}_{pooling}"] = float(f1_score(y[judge], margin > 0))
    return out


def concept_detection(codes: np.ndarray, y: np.ndarray, train: np.ndarray, seed: int) -> Found:
    """Figures of the task `concept_detection` for one concept.

    Args:
        codes: max-pooled. [texts, m]
        y: whose texts are about the concept. [texts] bool
        train: texts for training. [texts] bool
        seed: of the draws.
    """
    out = Found()
    out.latents["detector"], out["average_precision"] = detector(codes, y, train, seed)
    learn, judge = balanced(y, train, seed)
    moving = np.flatnonzero(codes[learn].any(0))
    areas = np.full(codes.shape[1], 0.5)
    areas[moving] = [roc_auc_score(y[learn], codes[learn, j]) for j in moving]
    best = int(areas.argmax())
    out.latents["best"] = best
    out["auroc"] = float(roc_auc_score(y[judge], codes[judge, best]))
    precision, recall, thresholds = precision_recall_curve(y[learn], codes[learn, best])
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    place = int(np.flatnonzero(f1[:-1] >= f1[:-1].max() - 1e-12)[-1])  # ties: the highest threshold
    lower = thresholds[place - 1] if place else thresholds[0] - 1
    out["f1"] = float(f1_score(y[judge], codes[judge, best] > (thresholds[place] + lower) / 2))
    return out
