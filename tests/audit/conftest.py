"""An oracle with planted faults, on a tiny world."""

import numpy as np
import pytest

from saebench_lite.audit import dose_bench, doses
from saebench_lite.audit.dose_edits import DOSES
from saebench_lite.audit.dose_truths import QUANTITIES, quantities

SEED = dose_bench.SEED


@pytest.fixture(scope="module")
def bench():
    return dose_bench.bench_of("tiny", texts=1024, limit=6, tasks=("truth", "reconstruction"))


@pytest.fixture(scope="module")
def true(bench):
    """(plan, quantities of every dictionary by name)"""
    todo = doses.plan()
    found = [quantities(DOSES[f](bench.base, d, SEED) if d else bench.base, bench.planted) for f, d in todo]
    return todo, {q: np.array([of[q] for of in found]) for q in QUANTITIES}
