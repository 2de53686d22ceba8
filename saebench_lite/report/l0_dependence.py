"""How a metric moves with L0 among SAEs of one architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from saebench_lite.records.record import Record
from saebench_lite.report.group_sentences import design
from saebench_lite.report.numbers import figure

TOLD = 3
"Architectures whose scores are told one by one; more are in the mean alone."


def l0_dependence(records: Sequence[Record], metric: str, l0: Mapping[str, float]) -> list[str]:
    """One sentence: the scores of each architecture with two or more L0 levels, and Spearman's correlation with L0.

    SAEs of one architecture and one aimed L0 (other training seeds) are averaged; L0 is the measured one where it is
    known. Empty where no architecture has two levels. Architecture and aimed L0 come from the SAEs' metadata.

    Args:
        records: Comparable records, one a subject.
        metric: A metric that they score.
        l0: Measured active latents per token by subject.
    """
    points: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for r in records:
        told = design(r) if r.subject.kind == "sae" and metric in r.scores else None
        if told is not None:
            architecture, level = told
            place = points.setdefault(architecture, {}).setdefault(level, [])
            place.append((l0.get(r.subject.name, float(level)), r.scores[metric].value))
    curves = {
        a: sorted(tuple(np.mean(v, axis=0)) for v in levels.values()) for a, levels in points.items() if len(levels) > 1
    }
    rho = {a: _spearman(curve) for a, curve in curves.items()}
    known = [v for v in rho.values() if v is not None]
    if not known:
        return []
    told = [
        f"{a} {', '.join(figure(y) for _, y in curves[a])} at L0 {', '.join(f'{x:.3g}' for x, _ in curves[a])}"
        for a in sorted(curves)[:TOLD]
    ]
    more = f", and {len(curves) - TOLD} more" if len(curves) > TOLD else ""
    mean = figure(float(np.mean(known)))
    over = f"mean over {len(known)} architectures" if len(known) > 1 else f"{len(curves[next(iter(rho))])} levels"
    return [f"{metric} against L0 at fixed architecture: Spearman {mean} ({over}); {'; '.join(told)}{more}"]


def _spearman(curve: Sequence[tuple[float, float]]) -> float | None:
    """Of the points (L0, score); None where all scores are equal."""
    x, y = np.array(curve).T
    if np.ptp(y) == 0 or np.ptp(x) == 0:
        return None
    return float(np.corrcoef(_ranks(x), _ranks(y))[0, 1])


def _ranks(x: np.ndarray) -> np.ndarray:
    """Ranks of x [n], ties sharing the mean of theirs."""
    return (x[:, None] > x).sum(1) + ((x[:, None] == x).sum(1) + 1) / 2
