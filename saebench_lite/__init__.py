"""saebench-lite: benchmarks for sparse autoencoders (SAEs) on language models.

Public names are loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from saebench_lite.version import __version__ as __version__

if TYPE_CHECKING:
    from saebench_lite.api.baseline import Baseline as Baseline
    from saebench_lite.api.card import Card as Card
    from saebench_lite.api.context import EvalContext as EvalContext
    from saebench_lite.api.context import PoolingRequest as PoolingRequest
    from saebench_lite.api.settings import Range as Range
    from saebench_lite.api.settings import Settings as Settings
    from saebench_lite.api.subject import Subject as Subject
    from saebench_lite.api.task import Scores as Scores
    from saebench_lite.api.task import Task as Task
    from saebench_lite.data.types import Corpus as Corpus
    from saebench_lite.data.types import Data as Data
    from saebench_lite.data.types import Labelled as Labelled
    from saebench_lite.errors import NotApplicable as NotApplicable
    from saebench_lite.errors import SaebenchError as SaebenchError
    from saebench_lite.loading.open import load as load
    from saebench_lite.plots.plot import plot as plot
    from saebench_lite.progress import Progress as Progress
    from saebench_lite.recipes.train import train as train
    from saebench_lite.records.metric import Metric as Metric
    from saebench_lite.records.record import Record as Record
    from saebench_lite.records.record import read as read
    from saebench_lite.report.results import Leaderboard as Leaderboard
    from saebench_lite.report.results import check as check
    from saebench_lite.report.results import compare as compare
    from saebench_lite.report.results import leaderboard as leaderboard
    from saebench_lite.runs.config import RunConfig as RunConfig
    from saebench_lite.runs.inspection import inspect as inspect
    from saebench_lite.runs.runner import execute as execute
    from saebench_lite.runs.runner import run as run
    from saebench_lite.runs.stability import stability as stability
    from saebench_lite.saes.affine import AffineSAE as AffineSAE
    from saebench_lite.saes.conformance import check_sae as check_sae
    from saebench_lite.saes.protocol import SAE as SAE

_HOME = {
    "AffineSAE": "saes.affine",
    "Baseline": "api.baseline",
    "Card": "api.card",
    "Corpus": "data.types",
    "Data": "data.types",
    "EvalContext": "api.context",
    "Labelled": "data.types",
    "Leaderboard": "report.results",
    "Metric": "records.metric",
    "NotApplicable": "errors",
    "PoolingRequest": "api.context",
    "Progress": "progress",
    "Range": "api.settings",
    "Record": "records.record",
    "RunConfig": "runs.config",
    "SAE": "saes.protocol",
    "SaebenchError": "errors",
    "Scores": "api.task",
    "Settings": "api.settings",
    "Subject": "api.subject",
    "Task": "api.task",
    "check": "report.results",
    "check_sae": "saes.conformance",
    "compare": "report.results",
    "execute": "runs.runner",
    "inspect": "runs.inspection",
    "leaderboard": "report.results",
    "load": "loading.open",
    "plot": "plots.plot",
    "read": "records.record",
    "run": "runs.runner",
    "stability": "runs.stability",
    "train": "recipes.train",
}
"Module of each public name."

__all__ = ["__version__", *_HOME]  # pyright: ignore[reportUnsupportedDunderAll]  (the names of _HOME, loaded on use)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'saebench_lite' has no attribute {name!r}")
    return getattr(importlib.import_module(f"saebench_lite.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """What a notebook offers to complete."""
    return sorted(__all__)
