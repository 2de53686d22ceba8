"""What attacked SAEs are scored on: tasks whose headline an edit of weights could lift, asked for no more than that.

Left out are `ce_delta`, whose fidelity is that of `reconstruction`, which says what an edit did; `truth`, whose
features depend on an SAE's width; and `absorption` where the hierarchy is one of words, where it costs more than all
others together. Two scores that edits lifted before stand beside the headlines of today:
- `rival_scores`, whose rare_f1 was the headline of probing, also where no truth is known;
- `former_ranking`: the k-sparse probe on one latent, chosen by the difference of class means over the latent's mean
  non-zero magnitude (sae-probes, Kantamneni et al., arXiv:2502.16681) in place of its standard deviation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from saebench_lite import registry
from saebench_lite.api.task import Task

CONCEPTS = 32
"Concepts at most, evenly spaced among all."
TEXTS = 8192
"Texts of a world."
SETTINGS: Mapping[str, Mapping[str, object]] = {
    "sparse_probing": {"ks": (1, 5), "poolings": ("mean",), "detector_poolings": ("max", "mean")},
    "former_ranking": {"ks": (1,), "poolings": ("mean",), "detector_poolings": ("mean",), "selection": "normalised"},
    "concept_detection": {},
    "absorption": {"max_words": 2000, "max_rows": 2000},
    "reconstruction": {"max_tokens": 20_000},
    "rival_scores": {},
}
"By task what differs from its defaults."
COMPARED = {
    ("sparse_probing", "average_precision_max"): "AP, max-pooled",
    ("sparse_probing", "average_precision_mean"): "AP, mean-pooled",
    ("concept_detection", "average_precision"): "AP, detection",
    ("sparse_probing", "auroc_k1_mean"): "AUROC k = 1",
    ("former_ranking", "auroc_k1_mean"): "AUROC k = 1, former ranking",
    ("rival_scores", "rare_f1"): "rare F1",
    ("rival_scores", "rare_f1_fires"): "rare F1, code not 0",
    ("rival_scores", "rare_f1_tuned"): "rare F1, tuned",
    ("recovery", "ap"): "truth: AP of features",
}
"(task, metric) -> heading: today's headlines, those before them, and the truth where it is known."


def _former_ranking() -> Task:
    """Sparse probing under a name of its own, for records beside those of today's ranking."""
    probing: Task = registry.get("tasks", "sparse_probing")
    card = dataclasses.replace(
        probing.card,
        name="former_ranking",
        description="sparse probing with latents ranked by the peers' score",
        headline=("auroc_k1_mean",),
        beside=(),
        default=False,
    )
    return dataclasses.replace(probing, card=card)


TASKS = {"former_ranking": _former_ranking()}
"What this module offers as a plugin."


def names(planted: bool, plugins: Sequence[str]) -> list[str]:
    """Tasks of an attack: those above, and the default ones of the plugins that score SAEs.

    planted: whether the site is a world.
    """
    for module in (__name__, *plugins):
        registry.add_plugin(module)
    theirs = [n for n, task in registry.get_all("tasks").items() if task.card.default and "sae" in task.card.accepts]
    ours = [n for n in SETTINGS if planted or n != "absorption"]
    return [*ours, *(n for n in theirs if n not in SETTINGS and registry.owner("tasks", n)[0] in plugins)]
