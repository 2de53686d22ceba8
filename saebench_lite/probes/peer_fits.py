"""Probes as other benchmarks fit them, for their protocols (runs.profiles); our own are in logistic.py.

sae-probes 0.4.2 (Kantamneni et al., arXiv:2502.16681): L1 logistic regression by scikit-learn's saga. SAEBench 0.6.0
(Karvonen et al., arXiv:2503.09532), absorption: linear probes by 50 epochs of Adam.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saebench_lite.api.probe_types import Direction
from saebench_lite.errors import SaebenchError
from saebench_lite.metrics.classification import auroc

L1_GRID = tuple(10.0 ** (5 - 10 * i / 9) for i in range(10))
"Strengths C that sae-probes tries, 1e5 down to 1e-5, ten evenly spaced in the logarithm."


def fit_l1(x: Tensor, y: Tensor, seed: int = 42) -> Direction:
    """sae-probes' L1 logistic regression, one problem: C by the best of `strength_aurocs`, refitted on all rows.

    x [n, k] as it is (not standardised), y [n] bool; ties between strengths go to the larger C. The solver (saga, 1000
    passes at most) mostly stops before it has converged, so the last digits depend on scikit-learn's version.
    SaebenchError if scikit-learn is not installed.
    """
    strength = L1_GRID[int(np.argmax(strength_aurocs(x, y, seed)))]
    columns, labels = _arrays(x, y)
    order = np.random.RandomState(seed).permutation(len(labels))
    model = _saga(strength, columns[order], labels[order], seed)
    weight = torch.as_tensor(model.coef_, dtype=torch.float64)
    bias = torch.as_tensor(np.ravel(model.intercept_), dtype=torch.float64)
    return Direction(weight.to(x.device), bias.to(x.device))


def strength_aurocs(x: Tensor, y: Tensor, seed: int = 42) -> list[float]:
    """Mean validation AUROC over `sae_probes_folds` of each strength of L1_GRID. x [n, k], y [n] bool."""
    columns, labels = _arrays(x, y)
    folds = list(sae_probes_folds(labels, seed))
    return [float(np.mean([_fold_auroc(c, columns, labels, *fold, seed) for fold in folds])) for c in L1_GRID]


def _arrays(x: Tensor, y: Tensor) -> tuple[np.ndarray, np.ndarray]:
    return x.detach().cpu().float().numpy(), y.cpu().numpy().astype(int)


def sae_probes_folds(y: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(fit, validate) row numbers: from 128 rows up the last min(n / 5, 100) rows, below that six stratified folds."""
    n = len(y)
    if n >= 128:
        size = min(n // 5, 100)
        yield np.arange(n - size), np.arange(n - size, n)
        return
    folds = _sklearn("model_selection").StratifiedKFold(6, shuffle=True, random_state=seed)
    yield from folds.split(np.zeros((n, 1)), y)


def _fold_auroc(
    strength: float, x: np.ndarray, y: np.ndarray, fit: np.ndarray, validation: np.ndarray, seed: int
) -> float:
    if len(set(y[fit])) < 2 or len(set(y[validation])) < 2:
        return 0.5
    score = torch.as_tensor(_saga(strength, x[fit], y[fit], seed).decision_function(x[validation]))
    positive = torch.as_tensor(y[validation] == 1)
    return auroc(score[positive], score[~positive]).item()


def _saga(strength: float, x: np.ndarray, y: np.ndarray, seed: int) -> Any:
    logistic = _sklearn("linear_model").LogisticRegression
    lasso = {"penalty": "l1"} if logistic().get_params().get("penalty") == "l2" else {"l1_ratio": 1}  # renamed in 1.8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it does not converge, and says so each time
        return logistic(C=strength, solver="saga", max_iter=1000, random_state=seed, **lasso).fit(x, y)


def _sklearn(part: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"sklearn.{part}")
    except ImportError as error:
        raise SaebenchError(
            "sae-probes' L1 probes need scikit-learn, which is not installed; install saebench-lite[peers]"
        ) from error


def fit_adam(x: Tensor, y: Tensor, *, l1: float, l2: float, batch: int, seed: int, epochs: int = 50) -> Direction:
    """One-vs-rest logistic regressions by Adam, as SAEBench's absorption fits them.

    Positives weigh negatives / positives; learning rate 0.01 falling exponentially to 1e-5 over the epochs. Start and
    batches are drawn from the seed (SAEBench draws them unseeded).

    Args:
        x: rows [n, k].
        y: labels [problems, n] bool.
        l1: weight in the loss of the mean over problems of sum |w|.
        l2: Adam's coupled weight decay.
        batch: rows a step.
        seed: of the initial weights and the batches.
        epochs: passes over the rows.
    """
    generator = torch.Generator().manual_seed(seed)
    x, target = x.float(), y.T.float()
    layer = torch.nn.Linear(x.shape[1], len(y))
    bound = x.shape[1] ** -0.5
    with torch.no_grad():
        for part in layer.parameters():
            part.copy_(torch.rand(part.shape, generator=generator) * 2 * bound - bound)
    layer.to(x.device)
    weight = (len(x) - target.sum(0)) / target.sum(0).clamp(min=1)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.01, weight_decay=l2)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, gamma=(1e-5 / 0.01) ** (1 / epochs))
    with torch.enable_grad():
        for _ in range(epochs):
            for rows in torch.randperm(len(x), generator=generator).to(x.device).split(batch):
                loss = torch.nn.functional.binary_cross_entropy_with_logits(
                    layer(x[rows]), target[rows], pos_weight=weight
                )
                loss = loss + l1 * layer.weight.abs().sum(1).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            schedule.step()
    return Direction(layer.weight.detach().double(), layer.bias.detach().double())
