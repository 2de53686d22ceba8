"""Records of a few subjects with known places in every figure."""

import dataclasses

import numpy as np

from saebench_lite.records.metric import Better
from saebench_lite.records.record import Record
from saebench_lite.records.types import Kind
from tests.helpers.record_factory import made_up, metric

BETTER: dict[str, Better] = {
    **{f"auroc_k{k}_{pooling}": "higher" for k in (1, 5) for pooling in ("mean", "max")},
    "explained_variance": "higher",
    "ce_delta": "lower",
    "l0": "neither",
    "feature_ap": "higher",
    "alignment": "neither",
}
CONSTRUCT = {"explained_variance": "fidelity", "ce_delta": "fidelity", "l0": "sparsity"}
UNITS = 12
SUBJECTS: list[tuple[str, Kind, str, float, float, float]] = [
    ("topk_8", "sae", "topk", 8.0, 0.60, 0.70),
    ("topk_32", "sae", "topk", 32.0, 0.90, 0.80),
    ("relu_32", "sae", "relu", 32.2, 0.70, 0.75),
    ("gated_64", "sae", "gated", 64.0, 0.80, 0.72),
    ("matched_random of topk_32", "control", "random", 32.0, 0.50, 0.55),
    ("random_topk", "control", "random", 32.0, 0.10, 0.52),
    ("permuted_decoder of topk_32", "control", "topk", 32.0, -0.90, 0.80),
    ("pca", "dictionary baseline", "pca", 64.0, 0.95, 0.65),
]
"Name, kind, architecture, L0, explained variance, AUROC at k = 1."
CURVES: dict[str, dict[str, object]] = {
    "topk_8": {"step": [0, 5, 9], "explained_variance": [-1, 0.5, 0.6], "l0": [8, 8, 8], "dead_fraction": [0, 0, 0.1]},
    "topk_32": {"step": [0, 5], "explained_variance": [None, 0.9], "l0": [32, 32.0], "dead_fraction": [0, 0.25]},
    "relu_32": {"step": [0, 5], "explained_variance": [0.1, 0.7], "l0": [64, 32.2], "dead_fraction": [0, 0.5]},
}
"Training curves in metadata; the other SAE has none."
BASELINES = {"logistic": 0.85, "diff_in_means": 0.78}


def values(mean: float, seed: int, spread: float = 0.01) -> np.ndarray:
    """[units, 1] whose mean is exactly `mean`."""
    x = np.random.default_rng(seed).normal(0, spread, (UNITS, 1))
    return mean + x - x.mean()


def declared(record: Record) -> Record:
    cards = {
        m: dataclasses.replace(
            metric(m, BETTER[m]), construct=CONSTRUCT.get(m, "recovery"), unit="nats" * (m == "ce_delta")
        )
        for m in record.task.metrics
    }
    return dataclasses.replace(record, task=dataclasses.replace(record.task, metrics=cards))


def probing(name: str, kind: Kind, auroc: float, meta: dict[str, object], hook: str = "h") -> Record:
    """k = 5 is .05 above k = 1, max .1 below mean; a baseline has one score for all k."""
    up = 0.0 if kind == "baseline" else 0.05
    seed = round(1000 * auroc)
    table = {f"auroc_k{k}_mean": values(auroc + up * (k == 5), seed) for k in (1, 5)}
    table |= {f"auroc_k{k}_max": values(auroc - 0.1, seed) for k in (1, 5)}
    made = made_up(
        name, table, kind=kind, metrics=BETTER, headline=["auroc_k1_mean"], meta=meta, seeds=(42,), hook=hook
    )
    return declared(made)


def fidelity(name: str, kind: Kind, ev: float, l0: float, meta: dict[str, object], hook: str = "h") -> Record:
    table = {
        "explained_variance": values(ev, round(l0 * 9)),
        "l0": values(l0, 2),
        "ce_delta": values(1 - ev, round(l0 * 7)),
    }
    heads = ["explained_variance", "ce_delta", "l0"]
    made = made_up(
        name, table, task="reconstruction", kind=kind, metrics=BETTER, headline=heads, meta=meta, seeds=(), hook=hook
    )
    return declared(made)


def plot_records(hook: str = "h", rename: str = "{}") -> list[Record]:
    """All subjects on probing and fidelity, baselines on probing; `rename` is a pattern of their names."""
    out = []
    for name, kind, architecture, l0, ev, auroc in SUBJECTS:
        meta: dict[str, object] = {"architecture": architecture, "d_sae": 64}
        meta |= {"training_curve": CURVES[name]} if name in CURVES else {}
        shown = rename.format(name)
        out += [probing(shown, kind, auroc, meta, hook), fidelity(shown, kind, ev, l0, meta, hook)]
    return [*out, *(probing(rename.format(name), "baseline", auroc, {}, hook) for name, auroc in BASELINES.items())]


def truth_records(hook: str = "h") -> list[Record]:
    """The same with the task `truth`, which gives each SAE its explained variance as its truth, and with afa."""
    out = plot_records(hook)
    for name, kind, architecture, _, ev, _ in SUBJECTS:
        table = {"feature_ap": values(ev, 4)}
        made = made_up(
            name,
            table,
            task="truth",
            kind=kind,
            metrics=BETTER,
            meta={"architecture": architecture},
            seeds=(),
            hook=hook,
        )
        out.append(declared(made))
    return [*out, *norm_records(hook)]


def norm_records(hook: str = "h") -> list[Record]:
    """Records of afa of all SAEs, whose codes have half of the norm of activations from 1 to 5."""
    z = [1.0, 2.0, 3.0, 4.0, 5.0]
    kept: dict[str, object] = {"norms_of_activations": z, "norms_of_codes": [0.5 * v for v in z]}
    return [
        declared(
            made_up(
                name,
                {"alignment": values(0.5, 4)},
                task="afa",
                metrics=BETTER,
                meta={"architecture": architecture, "d_sae": 64},
                seeds=(),
                hook=hook,
                diagnostics=kept,
            )
        )
        for name, kind, architecture, *_ in SUBJECTS
        if kind == "sae"
    ]
