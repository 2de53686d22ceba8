"""SAEs of a model's twin with random weights (`random:NAME`) as controls beside those of the model itself.

What the same recipe scores on the same texts where nothing was learned: what an SAE scores above it is owed to the
model (Heap et al., arXiv:2501.17727). Pure functions of records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from saebench_lite.names import RANDOM
from saebench_lite.records.record import Record

SUFFIX = " on random weights"


def random_model_controls(records: Sequence[Record]) -> list[tuple[Record, Record]]:
    """(control, original) for each SAE of a twin whose model was scored at the same hook on the same data.

    Both read texts with the same BOS and leave out the same positions, but for the limit on norms: sinks are learned.
    The control is the original's record under the model's site; the twin's own records stay where they are.
    """
    sites = {_place(r): r.site for r in records if not r.site.model.startswith(RANDOM)}
    out = []
    for r in records:
        model = r.site.model
        site = sites.get((model.removeprefix(RANDOM), *_place(r)[1:])) if model.startswith(RANDOM) else None
        if site is not None and r.subject.kind == "sae":
            subject = replace(r.subject, name=r.subject.name + SUFFIX, kind="control")
            out.append((replace(r, site=site, subject=subject), r))
    return out


def _place(record: Record) -> tuple[str, ...]:
    site = record.site
    rule = ",".join(part for part in site.token_rule.split(",") if not part.startswith("norm<="))
    return (site.model, site.hook, site.dtype, record.data.digest, rule, site.encode)
