"""Words on axes: what a number is, its unit, and an arrow in the better direction."""

from __future__ import annotations

import re

from saebench_lite.plots.select import scores_of
from saebench_lite.plots.style import literal
from saebench_lite.records.metric import ARROWS, Better, Metric
from saebench_lite.report.table import Column, Table

L0 = "active latents per token (L0) ←"
"L0 on a horizontal axis: fewer are better at an equal score."
ALONG: dict[Better, str] = {"higher": "→", "lower": "←", "one": "→1←", "neither": ""}
"Arrows of a horizontal axis."


def card_of(table: Table, column: Column) -> Metric:
    """The declaration of a metric that the table scores."""
    return next(iter(scores_of(table, column).values())).task.metrics[column.metric]


def words(card: Metric) -> str:
    """The metric in words with its unit: `ce delta: spliced minus clean loss (nats)`.

    Its name is left out where the meaning begins with it.
    """
    name = card.name.replace("_", " ")
    first = name.split()[0].casefold()
    text = card.meaning if card.meaning.casefold().startswith(first) else f"{name}: {card.meaning}"
    return literal(f"{text} ({card.unit})" if card.unit else text)


def over_k(card: Metric) -> str:
    """The words of a probe's metric without its number of latents."""
    return re.sub(r"(?: of a probe)? on \d+ latents", "", words(card))


def upright(text: str, better: Better) -> str:
    """A label of a vertical axis."""
    return f"{text}\u00a0{ARROWS[better]}".strip()


def up_axis(card: Metric) -> str:
    """The metric's label of a vertical axis."""
    return upright(words(card), card.better)


def along_axis(card: Metric) -> str:
    """The metric's label of a horizontal axis."""
    return f"{words(card)}\u00a0{ALONG[card.better]}".strip()
