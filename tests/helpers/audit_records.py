"""Records of a made-up audit: five architectures at three L0 levels, a training followed, oracle, random controls."""

import dataclasses

import numpy as np

from saebench_lite.audit import judge
from saebench_lite.records.metric import Better, Construct
from saebench_lite.records.record import Record
from saebench_lite.records.types import Kind
from tests.helpers.record_factory import made_up

METRICS: dict[str, tuple[Better, Construct | None]] = {
    "equal": ("higher", "recovery"),
    "error": ("lower", "recovery"),
    "ratio": ("one", "recovery"),
    "reversed": ("higher", "recovery"),
    "sparsity": ("higher", "recovery"),
    "noise": ("higher", "recovery"),
    "fidelity": ("higher", "fidelity"),
    "size": ("higher", None),
    "count": ("neither", "sparsity"),
}
ARCHITECTURES = ("a", "b", "c", "d", "e")
LEVELS = (4, 8, 16)


def record(task, name, meta, scores, kind: Kind = "sae") -> Record:
    """scores: metric -> per-seed values; five units alike."""
    about = {m: METRICS.get(m, ("higher", "recovery")) for m in scores}
    values = {m: np.array(v, dtype=float)[None].repeat(5, 0) for m, v in scores.items()}
    better: dict[str, Better] = {m: b for m, (b, _) in about.items()}
    made = {
        m: made_up(name, {m: v}, task=task, kind=kind, seeds=tuple(range(v.shape[1])), metrics=better, meta=meta)
        for m, v in values.items()
    }
    scores = {m: dataclasses.replace(r.scores[m], low=None, high=None) for m, r in made.items()}
    first = next(iter(made.values()))
    declared = {m: dataclasses.replace(r.task.metrics[m], construct=about[m][1]) for m, r in made.items()}
    return dataclasses.replace(
        first, task=dataclasses.replace(first.task, metrics=declared), scores=scores, per_unit={}
    )


def subjects():
    """(name, meta, kind, quality, L0): within a level the order of architectures is the same but for one swap."""
    for i, level in enumerate(LEVELS):
        order = (0, 1, 2, 4, 3) if i == 1 else (0, 1, 2, 3, 4)
        for architecture, place in zip(ARCHITECTURES, order, strict=True):
            name = f"{architecture}_l0_{level}"
            meta = {"panel": {"of": name, "share": 1.0, "architecture": architecture, "l0": level}}
            quality = 0.5 + 0.1 * place - 0.05 * i
            yield name, meta, "sae", quality, level
            yield f"matched_random of {name}", {}, "control", 0.05 + 0.01 * i, level
    for share in (0.0, 0.1, 0.5):
        meta = {"panel": {"of": "e_l0_8", "share": share, "architecture": "e", "l0": 8}}
        yield f"e_l0_8@{share}", meta, "sae", 0.1 + share / 2, 8
    yield "oracle", {}, "oracle", 1.0, 6


def nothing(quality, level):
    return {}


def records(task="task", extra=nothing):
    """Records of every subject: of the truth, of reconstruction, and of a task with the metrics above."""
    r = np.random.default_rng(1)
    out = []
    for name, meta, kind, q, level in subjects():

        def seeds(value, sd=0.001):
            return value + sd * r.standard_normal(3)

        out.append(record("truth", name, meta, {t: [q] for t in judge.TRUTHS}, kind))
        out.append(record("reconstruction", name, meta, {"l0": [level]}, kind))
        scores = {
            "equal": seeds(q),
            "error": seeds(1 - q),
            "ratio": seeds(2 - q),
            "reversed": seeds(1 - q),
            "sparsity": np.full(3, float(level)),
            "noise": np.full(3, r.random()),
            "fidelity": seeds(q),
            "size": seeds(1 - q),
            "count": seeds(q),
            **extra(q, level),
        }
        out.append(record(task, name, meta, scores, kind))
    return out


def probing_records():
    """The headline follows the truth, one rival runs against it."""
    r = np.random.default_rng(3)

    def extra(quality, level):
        jitter = 0.001 * r.random(3)
        return {"average_precision_max": quality + jitter, "auroc_k1_mean": 1 - quality + jitter}

    return records("sparse_probing", extra)
