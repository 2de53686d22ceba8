"""Records of two sites with SAEs, baselines and controls, for tests of the HTML page."""

import dataclasses
from functools import cache
from unittest import mock

import numpy as np
import torch

from saebench_lite.metrics.latents import density_histogram
from saebench_lite.records.metric import Better
from saebench_lite.records.record import Record
from saebench_lite.records.types import Kind
from saebench_lite.report import leaderboard, page_pairs
from saebench_lite.report.ranking import MetricRanking
from tests.helpers.record_factory import made_up, metric, provenance

BETTER: dict[str, Better] = {
    **{f"auroc_k{k}": "higher" for k in (1, 2, 5)},
    "explained_variance": "higher",
    "ce_delta": "lower",
    "l0": "neither",
}
CONSTRUCT = {"explained_variance": "fidelity", "ce_delta": "fidelity", "l0": "sparsity"}
SUBJECTS: list[tuple[str, Kind, str, float]] = [
    ("topk_a", "sae", "topk", 0.03),
    ("topk_b", "sae", "topk", 0.025),
    ("relu_a", "sae", "relu", 0.01),
    ("relu_b", "sae", "relu", -0.02),
    ("random_topk", "control", "random topk", -0.1),
    ("pca", "dictionary baseline", "pca", 0.0),
    ("logistic", "baseline", "", 0.12),
]
DENSITY = density_histogram(torch.tensor([0.0] * 3 + [0.003] * 5 + [0.3] * 8))


def declared(record: Record) -> Record:
    """The record with what its metrics claim to measure."""
    cards = {m: metric(m, BETTER[m]) for m in record.task.metrics}
    cards = {m: dataclasses.replace(c, construct=CONSTRUCT.get(m, "recovery")) for m, c in cards.items()}
    return dataclasses.replace(record, task=dataclasses.replace(record.task, metrics=cards), provenance=provenance())


def probing(name: str, kind: Kind, lift: float, meta: dict[str, object], hook: str = "h", units: int = 32) -> Record:
    r = np.random.default_rng(abs(int(1000 * lift)) + 7)
    level = np.random.default_rng(0).normal(0, 0.05, (units, 1))
    values = {f"auroc_k{k}": 0.6 + 0.02 * k + lift + level + r.normal(0, 0.01, (units, 3)) for k in (1, 2, 5)}
    made = made_up(name, values, kind=kind, hook=hook, metrics=BETTER, headline=["auroc_k1"], meta=meta)
    return declared(made)


def reconstruction(name: str, kind: Kind, lift: float, meta: dict[str, object], l0: float) -> Record:
    r = np.random.default_rng(abs(int(1000 * lift)) + 8)
    values = {
        "explained_variance": 0.8 + 2 * lift + r.normal(0, 0.01, (16, 1)),
        "ce_delta": 0.2 - lift + r.normal(0, 0.005, (16, 1)),
        "l0": l0 + r.normal(0, 0.1, (16, 1)),
    }
    made = made_up(
        name,
        values,
        task="reconstruction",
        kind=kind,
        seeds=(),
        metrics=BETTER,
        headline=["explained_variance", "ce_delta", "l0"],
        meta=meta,
        diagnostics={"density_histogram": DENSITY},
    )
    return declared(made)


def page_records() -> list[Record]:
    """Two sites; probing of all subjects, reconstruction of all but the supervised baseline; one record failed."""
    out = []
    for i, (name, kind, architecture, lift) in enumerate(SUBJECTS):
        meta: dict[str, object] = {"architecture": architecture, "d_sae": 64 if i % 2 else 128} if architecture else {}
        out.append(probing(name, kind, lift, meta))
        if kind != "baseline":
            out.append(reconstruction(name, kind, lift, meta, 10.0 + 3 * i))
    out += [probing(name, kind, lift, {"architecture": "topk"}, hook="other") for name, kind, _, lift in SUBJECTS[:2]]
    failed = made_up("broken", {}, task="reconstruction", seeds=(), headline=["explained_variance"], status="failed")
    return [*out, dataclasses.replace(failed, provenance=provenance())]


@cache
def page_of_a_hundred() -> str:
    """The page of a hundred subjects on 113 data sets, without their ranks and pairs, which take minutes."""
    r = np.random.default_rng(0)
    names = [
        f"{m}_k{k}_{p}" for m in ("auroc", "f1", "accuracy") for k in (1, 2, 5, 10, 20, 50) for p in ("mean", "last")
    ]
    one = made_up(
        "a",
        {m: r.random((113, 3)) for m in names},
        metrics=dict.fromkeys(names, "higher"),
        headline=names[:8],
        meta={"architecture": "topk", "d_sae": 2**14, "recipe": {"lr": 1e-3, "l0": 32, "steps": 50_000, "batch": 4096}},
    )
    many = [
        dataclasses.replace(
            one, subject=dataclasses.replace(one.subject, name=f"gemma-2-2b_layer-12_{i}", fingerprint=f"{i:064}")
        )
        for i in range(100)
    ]
    with (
        mock.patch.object(leaderboard, "rank_metric", return_value=MetricRanking({}, None, None, None, None)),
        mock.patch.object(page_pairs, "MOST", 0),
    ):
        return leaderboard.leaderboard_text(many, "html")
