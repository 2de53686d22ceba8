"""Records of a made-up audit."""

import dataclasses

import numpy as np

from saebench_lite.audit import grade
from saebench_lite.records.metric import Better
from saebench_lite.records.record import Record
from saebench_lite.records.types import Kind
from tests.helpers.record_factory import made_up

METRICS: dict[str, Better] = {
    "auroc_k1_mean": "higher",
    "auroc_k5_mean": "higher",
    "error": "lower",
    "ratio": "one",
    "wrong": "higher",
    "noisy": "higher",
    "count": "neither",
}


def record(task, name, meta, scores, kind: Kind = "sae") -> Record:
    """scores: metric -> per-seed values; five units alike."""
    better: dict[str, Better] = {m: METRICS.get(m, "higher") for m in scores}
    values = {m: np.array(v, dtype=float)[None].repeat(5, 0) for m, v in scores.items()}
    made = {
        m: made_up(name, {m: v}, task=task, kind=kind, seeds=tuple(range(v.shape[1])), metrics=better, meta=meta)
        for m, v in values.items()
    }
    scores = {m: dataclasses.replace(r.scores[m], low=None, high=None) for m, r in made.items()}
    first = next(iter(made.values()))
    about = dataclasses.replace(first.task, metrics={m: r.task.metrics[m] for m, r in made.items()})
    return dataclasses.replace(first, task=about, scores=scores, per_unit={})


def subjects():
    """(name, meta, kind, quality): two architectures of six, a training followed, oracle, random control."""
    r = np.random.default_rng(0)
    for architecture in ("a", "b"):
        for i in range(6):
            name = f"{architecture}{i}"
            meta = {"panel": {"of": name, "share": 1.0, "architecture": architecture}}
            yield name, meta, "sae", 0.3 + 0.1 * i + 0.02 * r.random()
    for share in (0.0, 0.1, 0.5):
        meta = {"panel": {"of": "a5", "share": share, "architecture": "a"}}
        yield f"a5@{share}", meta, "sae", 0.1 + share / 2
    yield "oracle", {}, "oracle", 1.0
    yield "matched_random of a3", {}, "control", 0.05


def records():
    r = np.random.default_rng(1)
    out = []
    for name, meta, kind, q in subjects():
        seeds = lambda value, sd: value + sd * r.standard_normal(3)  # noqa: E731
        out.append(record("truth", name, meta, {t: [q] * 3 for t in grade.TRUTHS}, kind))
        scores = {
            "auroc_k1_mean": seeds(q, 0.001),
            "auroc_k5_mean": seeds(q, 0.001),
            "error": seeds(1 - q, 0.001),
            "ratio": seeds(2 - q, 0.001),
            "wrong": seeds(1 - q, 0.001),
            "noisy": seeds(q, 0.3),
            "count": seeds(q, 0.001),
        }
        out.append(record("task", name, meta, scores, kind))
    return out


def probing_records():
    """The headline follows the truth, plain probing runs against it; reconstruction for the table of architectures."""
    METRICS.update(average_precision_max="higher", explained_variance="higher", l0="neither")
    r, out = np.random.default_rng(3), []
    for name, meta, kind, q in subjects():
        truth = {t: [q] * 3 for t in grade.TRUTHS} | {"mcc": [q], "true_l0": [9.0]}
        out.append(record("truth", name, meta, truth, kind))
        scores = {"average_precision_max": q + 0.01 * r.random(3), "auroc_k1_mean": 1 - q + 0.01 * r.random(3)}
        out.append(record("sparse_probing", name, meta, scores, kind))
        out.append(record("reconstruction", name, meta, {"explained_variance": [q], "l0": [20 * q]}, kind))
    return out
