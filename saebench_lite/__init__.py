"""saebench-lite: benchmarks for sparse autoencoders (SAEs) on language models.

Public names are loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from saebench_lite.card import Card, Metric
    from saebench_lite.conformance import check_sae
    from saebench_lite.data import Corpus, Data, Labelled
    from saebench_lite.errors import NotApplicable, SaebenchError
    from saebench_lite.record import Record
    from saebench_lite.runner import run
    from saebench_lite.sae import SAE, AffineSAE
    from saebench_lite.tables import leaderboard
    from saebench_lite.task import Baseline, Scores, Subject, Task

_WHERE = {
    "AffineSAE": "sae",
    "Baseline": "task",
    "Card": "card",
    "Corpus": "data",
    "Data": "data",
    "Labelled": "data",
    "Metric": "card",
    "NotApplicable": "errors",
    "Record": "record",
    "SAE": "sae",
    "SaebenchError": "errors",
    "Scores": "task",
    "Subject": "task",
    "Task": "task",
    "check_sae": "conformance",
    "leaderboard": "tables",
    "run": "runner",
}

__all__ = [
    "SAE",
    "AffineSAE",
    "Baseline",
    "Card",
    "Corpus",
    "Data",
    "Labelled",
    "Metric",
    "NotApplicable",
    "Record",
    "SaebenchError",
    "Scores",
    "Subject",
    "Task",
    "check_sae",
    "leaderboard",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'saebench_lite' has no attribute {name!r}")
    return getattr(importlib.import_module(f"saebench_lite.{_WHERE[name]}"), name)
