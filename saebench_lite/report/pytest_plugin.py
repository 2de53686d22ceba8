"""A pytest fixture that fails a test where an SAE got worse: `saebench_gate(new, against, **options)`.

pytest loads this file wherever the package is installed, so that what is heavy is imported when the fixture is called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from saebench_lite.report.compare import Metrics
    from saebench_lite.report.findings import Check
    from saebench_lite.report.margins import Allow

Folder = str | Path


def gate(
    new: Folder,
    against: Folder | Sequence[Folder],
    *,
    metrics: Metrics = "headline",
    allow: Allow = None,
    min_effect: float | None = None,
    strict: bool = False,
) -> Check:
    """The check of a results folder, which fails the running test with the verdict unless the exit status would be 0.

    Args:
        new: results folder under test.
        against: a folder of an earlier run, or several.
        metrics: headline: those that tasks show unasked; or all.
        allow: a loss up to this much passes, in a metric's unit: a number for all, or {metric or task.metric: number},
            with "*" for the other metrics.
        min_effect: change that counts, in place of each metric's minimum reliable difference.
        strict: whether what is undecided fails too.
    """
    from saebench_lite.errors import SaebenchError
    from saebench_lite.report import results
    from saebench_lite.report.markup import visible
    from saebench_lite.report.regression_text import to_text

    folders = [against] if isinstance(against, str | Path) else list(against)
    try:
        result = results.check(new, *folders, metrics=metrics, allow=allow, min_effect=min_effect)
    except SaebenchError as error:
        pytest.fail(visible(str(error)), pytrace=False)
    if result.status(strict):
        pytest.fail(to_text(result), pytrace=False)
    return result


@pytest.fixture
def saebench_gate() -> Callable[..., Check]:
    """`saebench_gate(new, against, **options)`, see `gate`."""
    return gate
