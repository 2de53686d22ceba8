"""What a regression check finds: one finding a metric and subject, and all of them with what could not be compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from saebench_lite.records.metric import Better
from saebench_lite.report.recipe_test import RecipeTest

Verdict = Literal["ok", "worse", "better", "undecided", "not tested"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One metric of one subject, before and after."""

    subject: str
    task: str
    metric: str
    better: Better
    unit: str
    before: float
    "Mean over earlier SAEs."
    after: float
    gain: float
    "How much better it got; negative is worse. In the metric's unit, for a metric whose best is 1 in distance to it."
    threshold: float
    "The change that counts: the reliable difference, or --min-effect."
    reach: float
    "Half of the 95 % interval of the gain; NaN where no noise is known."
    p: float | None
    "Of no change, or of a loss of just the margin."
    units: int
    seeds: tuple[int, int]
    "New SAEs and earlier ones."
    p_holm: float | None
    verdict: Verdict
    margin: float | None = None
    "Loss that is allowed; None where no margin was given."
    audit: str | None = None
    "Verdict of the suite's audit on the metric: passes, misses, open or unaudited."
    certain: bool = True
    "Whether a loss can be worse, if it is large enough; not where no noise is known or units are too few."
    remarks: tuple[str, ...] = ()
    "Values that some records have and others lack, where its figures do not stand on them."
    needs: str | None = None
    "What would decide where the verdict is undecided; None where it is not, or nothing is known to."

    @property
    def counts_from(self) -> float | None:
        """The change from which one counts, and is seen by a test of it alone; None where none can be certain."""
        if not self.certain:
            return None
        return self.threshold if self.reach != self.reach else max(self.threshold, self.reach)


@dataclass(frozen=True, kw_only=True)
class Check:
    """The outcome of a check."""

    findings: list[Finding]
    problems: list[str] = field(default_factory=list)
    "Why parts of either side have nothing to be compared with."
    recipes: list[RecipeTest] = field(default_factory=list)
    "Of SAEs with several earlier ones."
    caveats: list[str] = field(default_factory=list)
    "Why a verdict of worse may be another training seed's doing."
    notes: list[str] = field(default_factory=list)
    margins: list[str] = field(default_factory=list)
    "On allowed losses that are too small for any loss to pass."

    @property
    def regressions(self) -> list[Finding]:
        """What got worse beyond noise."""
        return [f for f in self.findings if f.verdict == "worse"]

    @property
    def changed(self) -> list[RecipeTest]:
        """SAEs that are not one more of their recipe."""
        return [r for r in self.recipes if r.changed]

    @property
    def undecided(self) -> list[Finding]:
        """What more seeds or units would have to decide."""
        return [f for f in self.findings if f.verdict == "undecided"]

    def status(self, strict: bool = False) -> int:
        """Exit status: 1 with a regression or a changed SAE, else 2 if something could not be compared, else 0.

        With `strict` it is 3 instead of 0 where something is undecided.
        """
        if self.regressions or self.changed:
            return 1
        return 2 if self.problems else 3 if strict and self.undecided else 0
