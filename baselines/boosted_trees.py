"""Gradient-boosted trees on the model's own activations (XGBoost).

100 trees at rate 0.1 with half of the columns a tree and 64 bins a column (the default of 256 takes three times as long
on a few hundred rows); depth 2 or 4, whichever validates better by AUROC. Needs the extra `trees`.
Source: Chen & Guestrin, arXiv:1603.02754; as a probing baseline Kantamneni et al., arXiv:2502.16681, who search ten
random configurations.
"""

import torch
from torch import Tensor

from saebench_lite.api.baseline import Baseline
from saebench_lite.api.needs import Need
from saebench_lite.errors import SaebenchError
from saebench_lite.probes.baseline_scores import choose

DEPTHS = (2, 4)
TREES = 100


def grow(x: Tensor, y: Tensor, judged: Tensor, depth: int) -> Tensor:
    """Margins [m] of trees of one depth.

    Args:
        x: training rows [n, d].
        y: labels [n].
        judged: rows to judge [m, d].
        depth: of each tree.
    """
    try:
        import xgboost
    except ImportError:
        raise SaebenchError(
            "baseline 'boosted_trees' needs xgboost; install it with pip install 'saebench-lite[trees]'"
        ) from None
    settings = {
        "objective": "binary:logistic",
        "base_score": 0.5,
        "max_depth": depth,
        "eta": 0.1,
        "colsample_bytree": 0.5,
        "tree_method": "hist",
        "max_bin": 64,
        "nthread": 1,
        "seed": 0,
    }
    trained = xgboost.train(settings, xgboost.DMatrix(x.cpu().numpy(), y.cpu().float().numpy()), TREES)
    margins = trained.predict(xgboost.DMatrix(judged.cpu().numpy()), output_margin=True)
    return torch.from_numpy(margins).to(judged.device)


def classify(x: Tensor, y: Tensor, judged: Tensor) -> Tensor:
    """Margins of the trees with the better depth. x [n, d], y [n], judged [m, d] -> [m]"""
    best = choose(
        y,
        len(DEPTHS),
        lambda fit, validation: torch.stack([grow(x[fit], y[fit], x[validation], depth) for depth in DEPTHS]),
    )
    return grow(x, y, judged, DEPTHS[best])


BASELINE = Baseline(
    name="boosted_trees",
    description="gradient-boosted trees on the model's own activations",
    kind="baseline",
    classify=classify,
    default=False,
    needs=(Need("xgboost", "trees"),),
)
