"""Names of data sets, which tell units apart in a record and so must differ within a run."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from saebench_lite.data.types import Data, Labelled
from saebench_lite.errors import SaebenchError


def told_apart(parts: Sequence[Data], specs: Sequence[str]) -> list[Data]:
    """Data of several `source[:where]` specs, where two share a name with the folder they lie in before it.

    SaebenchError for names that are still the same then, within one source too.
    """
    shared = {name for name, n in Counter(name for part in parts for name in _names(part)).items() if n > 1}
    out = [_renamed(part, shared, spec) for part, spec in zip(parts, specs, strict=True)]
    for kind in ("datasets", "concepts"):
        names = Counter(labelled.name for part in out for labelled in getattr(part, kind))
        if twice := sorted(name for name, n in names.items() if n > 1):
            raise SaebenchError(
                f"two data sets are called {twice[0]!r}; rename a file or a label, or score them in two runs"
            )
    return out


def _names(part: Data) -> set[str]:
    return {labelled.name for labelled in (*part.datasets, *part.concepts)}


def _renamed(part: Data, shared: set[str], spec: str) -> Data:
    folder = Path(spec.partition(":")[2].partition("?")[0]).parent.name

    def name(labelled: Labelled) -> Labelled:
        clash = labelled.name in shared and folder
        return dataclasses.replace(labelled, name=f"{folder}/{labelled.name}") if clash else labelled

    datasets, concepts = (tuple(map(name, kind)) for kind in (part.datasets, part.concepts))
    return dataclasses.replace(part, datasets=datasets, concepts=concepts)
