"""SAEs of a model's twin with random weights (`random:NAME`) as controls beside those of the model itself.

What the same recipe scores on the same texts where nothing was learned: what an SAE scores above it is owed to the
model (Heap et al., arXiv:2501.17727). Pure functions of records.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from saebench_lite.names import RANDOM
from saebench_lite.records.record import Record

SUFFIX = " on random weights"


def add_random_model_controls(records: Sequence[Record]) -> list[Record]:
    """The records, and for each SAE of a twin a copy as a control of its model, where that was scored at the same hook
    on the same data; the twin's own records stay where they are."""
    sites = {_place(r): r.site for r in records if not r.site["model"].startswith(RANDOM)}
    out = list(records)
    for r in records:
        model = r.site["model"]
        site = sites.get((model.removeprefix(RANDOM), *_place(r)[1:])) if model.startswith(RANDOM) else None
        if site is not None and r.subject["kind"] == "sae":
            subject = r.subject | {"name": r.subject["name"] + SUFFIX, "kind": "control"}
            out.append(dataclasses.replace(r, site=site, subject=subject, made=r.made | {"record": r.digest}))
    return out


def _place(record: Record) -> tuple[str, ...]:
    site = record.site
    return (site["model"], site["hook"], site["dtype"], record.data["digest"])
