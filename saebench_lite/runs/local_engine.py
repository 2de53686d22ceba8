"""A run in this process."""

from __future__ import annotations

from collections.abc import Iterator

from saebench_lite.progress import Progress
from saebench_lite.records.record import Record
from saebench_lite.runs.config import RunConfig
from saebench_lite.runs.live import Live
from saebench_lite.runs.setup import set_up


def run(config: RunConfig, live: Live, progress: Progress) -> Iterator[Record]:
    """Records of this process's share of the work, each as soon as it is read or written."""
    done = total = 0
    for jobs in set_up(config, live, progress):
        total += sum(len(drafts) for job in jobs for _, drafts in job.units())
        for job in jobs:
            for record in job.scored():
                done += 1
                progress.update("evaluations", done, total)
                yield record
