"""What a task's own settings do to its figures, and what worked examples of each word's own do to absorption's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from saebench_lite import registry
from saebench_lite.api.context import EvalContext
from saebench_lite.api.settings import make_config
from saebench_lite.api.subject import Subject
from saebench_lite.records.types import MetricScore
from saebench_lite.runs.evaluate import summarise
from saebench_lite.stats.seeds import rng
from saebench_lite.tasks import _first_letters
from saebench_lite.tasks._first_letters import Hierarchy

SEEDS = (42, 43, 44)
ABSORPTION = {
    "absorption_fraction": "absorbed fraction",
    "full_absorption": "full absorption",
    "splits": "main latents",
    "f1_k1": "F1 at k 1",
}


class Effect(NamedTuple):
    """One choice: the figure the peer's way, our way, and what was measured on what."""

    choice: str
    figure: str
    theirs: float
    ours: float


def by_settings(
    ctx: EvalContext, who: Subject, task: str, settings: Sequence[dict[str, Any]], metrics: dict[str, str], choice: str
) -> Iterator[Effect]:
    """A task's figures under two settings."""
    got = [figures(ctx, who, task, fields) for fields in settings]
    for metric, label in metrics.items():
        yield Effect(choice, f"{label} of {who.name}", *(g[metric].value for g in got))


def figures(ctx: EvalContext, who: Subject, task: str, fields: dict[str, Any]) -> dict[str, MetricScore]:
    """A task's figures under settings."""
    found = registry.get("tasks", task)
    cfg = make_config(found, fields)
    seeds = SEEDS if found.card.seeded else ()
    return summarise(found.evaluate(who, ctx, found.prepare(ctx, cfg, seeds), cfg, seeds), found.card)[0]


def examples_of_each_word(hierarchy: Hierarchy, groups: Sequence[np.ndarray], examples: int) -> list[str]:
    """Prompts as absorption's, with worked examples drawn anew for each word, others of its group."""
    draw, prompts = rng("examples of each word"), []
    for group in groups:
        for word in group:
            shown = draw.choice(group[group != word], size=examples, replace=False)
            lines = [f"\n{hierarchy.template.format(word=hierarchy.words[o])} {hierarchy.parents[o]}" for o in shown]
            prompts.append("".join(lines) + "\n" + hierarchy.words[word])
    return prompts


def drawn_anew(ctx: EvalContext, who: Subject) -> Iterator[Effect]:
    """Absorption with worked examples of each word's own."""
    with mock.patch.object(_first_letters, "word_prompts", examples_of_each_word):
        theirs = figures(ctx, who, "absorption", {})
    ours = figures(ctx, who, "absorption", {})
    for metric, label in ABSORPTION.items():
        what = f"{label} of {who.name}"
        yield Effect("worked examples drawn anew for each word", what, theirs[metric].value, ours[metric].value)
