"""Evaluation results in the metadata of Hugging Face model cards (`model-index`), one YAML text an SAE.

Source: https://github.com/huggingface/hub-docs/blob/main/modelcard.md; written by huggingface_hub, which checks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from saebench_lite.records.arrays import protocol_key
from saebench_lite.records.record import Record
from saebench_lite.records.selection import newest_by_subject
from saebench_lite.report.markup import one_line
from saebench_lite.report.numbers import ends, interval_over

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

TASK_TYPE = "feature-extraction"
"The Hub's task that an SAE comes nearest to."


def model_indices(records: Sequence[Record], metrics: Literal["headline", "all"] = "headline") -> dict[str, str]:
    """YAML with the key `model-index` of each SAE that is scored, by the SAE's name.

    Of each task, site, data and setting the newest record counts. A result's dataset names the data with their digest
    as revision, and as its configuration the task, its version, the hook and the model; its `args` hold interval,
    units, direction and the digest of the record.

    Args:
        records: of any number of sites.
        metrics: headline: those that tasks show unasked; all: all scored.
    """
    from huggingface_hub.repocard_data import eval_results_to_model_index
    from huggingface_hub.utils import yaml_dump

    groups: dict[str, list[Record]] = {}
    for r in records:
        if r.subject.kind == "sae" and r.status == "ok":
            groups.setdefault(protocol_key(r), []).append(r)
    results: dict[str, list[EvalResult]] = {}
    newest = [r for group in groups.values() for r in newest_by_subject(group).values()]
    for r in sorted(newest, key=lambda r: (r.site.model, r.site.hook, r.data.name, r.task.name, r.digest)):
        shown = r.scores if metrics == "all" else [m for m in r.task.shown if m in r.scores]
        results.setdefault(r.subject.name, []).extend(_result(r, metric) for metric in shown)
    return {
        name: yaml_dump({"model-index": eval_results_to_model_index(one_line(name), found)})
        for name, found in sorted(results.items())
        if found
    }


def _result(r: Record, metric: str) -> EvalResult:
    from huggingface_hub import EvalResult

    score, card = r.scores[metric], r.task.metrics[metric]
    low, high = ends(r, metric)
    return EvalResult(
        task_type=TASK_TYPE,
        task_name=f"saebench-lite {r.task.name}",
        dataset_type=one_line(r.data.name),
        dataset_name=one_line(r.data.name),
        dataset_config=one_line(f"{r.task.name} {r.task.version} at {r.site.hook} of {r.site.model}"),
        dataset_revision=r.data.digest,
        metric_type=metric,
        metric_name=one_line(card.meaning),
        metric_value=score.value,
        metric_args={
            "better": card.better,
            "interval_95": None if low is None or high is None else [low, high],
            "interval_over": interval_over(r, metric),
            "units": score.n,
            "record": r.digest,
        },
    )
