"""How a metric moves with L0 among SAEs of one architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from saebench_lite.records.record import Record
from saebench_lite.report.group_sentences import design
from saebench_lite.report.numbers import figure
from saebench_lite.stats.rank_correlation import spearman

TOLD = 3
"Architectures whose scores are told one by one; more are in the mean alone."


def l0_dependence(records: Sequence[Record], metric: str, l0: Mapping[str, float]) -> list[str]:
    """One sentence: scores over L0 of architectures with two levels or more, and Spearman's correlation from three on.

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
    if not curves:
        return []
    rho = [r for curve in curves.values() if (r := spearman(*np.array(curve).T)) == r]
    over = "1 architecture" if len(rho) == 1 else f"{len(rho)} architectures"
    mean = f": Spearman {figure(float(np.mean(rho)))} (mean over {over} with three levels or more);" if rho else ":"
    told = [
        f"{a} {', '.join(figure(y) for _, y in curves[a])} at L0 {', '.join(f'{x:.3g}' for x, _ in curves[a])}"
        for a in sorted(curves, key=lambda a: (-len(curves[a]), a))[:TOLD]
    ]
    more = f", and {len(curves) - TOLD} more" if len(curves) > TOLD else ""
    return [f"{metric} against L0 at fixed architecture{mean} {'; '.join(told)}{more}"]
