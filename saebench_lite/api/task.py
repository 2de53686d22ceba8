"""The nouns a task works with: subjects, scores, baselines, and the task object itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from saebench_lite.api.card import Card
from saebench_lite.api.needs import Need
from saebench_lite.errors import SaebenchError

if TYPE_CHECKING:
    from saebench_lite.api.context import EvalContext, PoolingRequest
from saebench_lite.api.subject import Subject


class Scores:
    """Values by (metric, unit, seed). A metric's figure is the weighted mean over its units and seeds.

    With a ratio's denominator as weight, the mean over units is the pooled ratio, so one rule serves every metric.
    """

    def __init__(self) -> None:
        self._cells: dict[str, dict[tuple[str, int], tuple[float, float]]] = {}
        self._errors: dict[str, dict[tuple[str, int], float]] = {}
        self.diagnostics: dict[str, Any] = {}
        "Findings that are not metrics (selected latents, histograms); JSON types only."

    def add(
        self,
        metric: str,
        value: float,
        *,
        unit: str,
        seed: int = 0,
        weight: float = 1.0,
        error: float | None = None,
    ) -> None:
        """One value; NaN means that this unit cannot say (kept as missing), Inf is refused.

        Args:
            metric: name, as the card declares it.
            value: the figure.
            unit: what it was measured on, such as a data set.
            seed: of the repetition.
            weight: share of this value in the mean; the denominator for a ratio.
            error: standard error of the value under other test texts, kept to 3 significant digits; None or NaN where
                it is not known.
        """
        value, weight = float(value), float(weight)
        if np.isinf(value) or not np.isfinite(weight) or weight < 0:
            raise SaebenchError(f"metric {metric!r} on {unit!r} came out as {value} (weight {weight})")
        cells = self._cells.setdefault(metric, {})
        if (unit, seed) in cells:
            raise SaebenchError(f"metric {metric!r} was given twice for {unit!r} and seed {seed}")
        cells[unit, seed] = (value, weight)
        if error is not None and not np.isnan(error):
            if not 0 <= error < np.inf:
                raise SaebenchError(
                    f"metric {metric!r} on {unit!r} has the standard error {error}; give a size or None"
                )
            self._errors.setdefault(metric, {})[unit, seed] = float(f"{error:.3g}")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that have values."""
        return tuple(self._cells)

    def table(self, metric: str) -> tuple[list[str], list[int], np.ndarray, np.ndarray]:
        """Units, seeds, and the values and weights [units, seeds] of one metric (NaN and 0 where missing)."""
        cells = self._cells[metric]
        units = list(dict.fromkeys(u for u, _ in cells))
        seeds = sorted({s for _, s in cells})
        values = np.full((len(units), len(seeds)), np.nan)
        weights = np.zeros_like(values)
        at_unit, at_seed = {u: i for i, u in enumerate(units)}, {s: i for i, s in enumerate(seeds)}
        for (unit, seed), (value, weight) in cells.items():
            values[at_unit[unit], at_seed[seed]] = value
            weights[at_unit[unit], at_seed[seed]] = weight
        return units, seeds, values, weights

    def errors(self, metric: str) -> np.ndarray | None:
        """Standard errors [units, seeds] of one metric in the order of its `table`, NaN where not known; None: none."""
        if metric not in self._errors:
            return None
        units, seeds, values, _ = self.table(metric)
        errors = np.full_like(values, np.nan)
        for (unit, seed), error in self._errors[metric].items():
            errors[units.index(unit), seeds.index(seed)] = error
        return errors


class Reading(NamedTuple):
    """Tokens that a task sends through the model besides the data's texts, at most; some of its layers count as all."""

    shared: int = 0
    "Once for all subjects of a site: prompts, texts of its own, the data's texts cut otherwise."
    each: int = 0
    "Again for each subject, such as passes with a reconstruction put in."


@dataclass(frozen=True)
class Task:
    """A registered task: `prepare` is shared by all subjects of a site, `evaluate` is what one subject costs."""

    card: Card
    config: type
    "A frozen dataclass; its defaults are the official protocol."
    prepare: Callable[[EvalContext, Any, Sequence[int]], Any]
    "(ctx, config, seeds) -> whatever evaluate needs. Raises NotApplicable where the site cannot serve."
    evaluate: Callable[[Subject, EvalContext, Any, Any, Sequence[int]], Scores]
    "(subject, ctx, prepared, config, seeds) -> Scores over all seeds."
    pooling_requests: Callable[[EvalContext, Any], Iterable[PoolingRequest]] = lambda ctx, config: ()
    "(ctx, config) -> pooled codes it will ask for; told before the first SAE, so that one pass serves all tasks."
    needs: Callable[[Any], Iterable[Need]] = lambda config: ()
    "(config) -> packages that these settings need beyond the suite's own; a run without them is refused at once."
    reads: Callable[[EvalContext, Any, Sequence[int]], Reading] = lambda ctx, config, seeds: Reading()
    "(ctx, config, seeds) -> what it reads besides the data's texts, by no pass of the model: for `run --dry-run`."

    def __post_init__(self) -> None:
        if not isinstance(self.config, type) or "__dataclass_fields__" not in vars(self.config):
            name = getattr(self.config, "__name__", repr(self.config))
            raise SaebenchError(
                f"task {self.card.name!r}: its config {name} is no dataclass; put @dataclass(frozen=True) above it"
            )
