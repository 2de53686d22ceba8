"""What a record is made of: task, subject, site, data, scores, unit values, provenance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from saebench_lite.errors import SaebenchError
from saebench_lite.records.metric import Metric

Kind = Literal["sae", "dictionary baseline", "control", "baseline", "oracle"]
"What a subject is in a table: `dictionary baseline` is a fixed basis in an SAE's place, `control` should lose."


Status = Literal["ok", "not_applicable", "failed"]


@dataclass(frozen=True, kw_only=True)
class TaskInfo:
    """The task a record was scored on."""

    name: str
    "Name of the task."
    version: int
    "Version of the task's definition; scores of different versions are not comparable."
    package: str
    "Distribution that registered the task."
    package_version: str
    "Version of that distribution."
    headline: list[str]
    "Metrics that a leaderboard shows and ranks by, most important first, whether scored or not."
    metrics: dict[str, Metric]
    "Declarations of the metrics that were scored, as they were when the record was written."
    beside: tuple[str, ...] = ()
    "Metrics that a leaderboard shows after the headline; records of before this field have all under `headline`."

    @property
    def shown(self) -> list[str]:
        """Metrics shown in a leaderboard by default: the headline, then those beside it."""
        return [*self.headline, *self.beside]


@dataclass(frozen=True, kw_only=True)
class SubjectInfo:
    """The SAE, baseline or control that was scored."""

    name: str
    "Name in tables."
    kind: Kind
    "Role in a table."
    fingerprint: str
    "Digest of weights and settings, of a baseline's name and version; of the code too of live objects and plugins."
    meta: dict[str, object]
    "Description of the subject (architecture, origin); never used in a score."


@dataclass(frozen=True, kw_only=True)
class SiteInfo:
    """The model and hook point whose activations were read. All of it can change a number."""

    model: str
    "Hub id, local folder, or name of a bundled or synthetic model."
    revision: str | None
    "Revision on the hub; null for a model that is not on a hub."
    weights: str
    "Digest of the model's weights, 16 hex digits."
    hook: str
    "Hook point."
    dtype: str
    "Type of the model's numbers."
    token_rule: str
    (
        "Which tokens enter a statistic; `no-special-tokens`: the model reads BOS, EOS and PAD, no statistic does."
        " Where it is so, there follow `bos:TOKEN` (put in front of each text) or `no-bos` (taken away there),"
        " `norm<=10xmedian` (tokens of a larger norm are left out: attention sinks), `no-first` (so is the first one)."
    )
    encode: Literal["float32", "bf16"] = "float32"
    "What the SAE's encoder is multiplied in: `float32`, also in pieces that keep its digits, or rounded to `bf16`."


@dataclass(frozen=True, kw_only=True)
class DataInfo:
    """The texts and labels that the tasks read."""

    name: str
    "Names of the sources."
    digest: str
    "Digest of all texts, labels and splits."
    datasets: int
    "Number of labelled data sets."
    concepts: int
    "Number of concepts."
    corpora: int
    "Number of unlabelled corpora."


@dataclass(frozen=True, kw_only=True)
class MetricScore:
    """One metric's figure with its 95 % interval."""

    value: float
    "Weighted mean over units and seeds, 9 significant digits."
    low: float | None
    "Lower end of the interval over units (tables show it from 12 on), of one unit over its test texts; null: unknown."
    high: float | None
    "Upper end of the interval."
    n: int
    "Units with a value."
    per_seed: list[float | None]
    "Weighted mean over units under each seed."

    def __post_init__(self) -> None:
        odd = [v for v in (self.value, self.low, self.high, *self.per_seed) if v is not None and abs(v) == float("inf")]
        if odd:
            raise SaebenchError(f"a score is {odd[0]}, not a finite number")


@dataclass(frozen=True, kw_only=True)
class UnitValues:
    """One metric's values by unit and seed, from which its score is computed."""

    units: list[str]
    "Names of the units (data sets, concepts, blocks of text): the rows."
    seeds: list[int]
    "Seeds: the columns; one column for a task that draws no random numbers."
    values: list[list[float | None]]
    "Values [units][seeds], 9 significant digits; null where a unit cannot say."
    weights: list[list[float]] | None = None
    "Weights [units][seeds]; null where all are 1."
    errors: list[list[float | None]] | None = None
    "Standard errors of the values under other test texts [units][seeds]; null where the task gives none."

    def __post_init__(self) -> None:
        for name, table in (("values", self.values), ("weights", self.weights), ("errors", self.errors)):
            if table is not None and [len(row) for row in table] != [len(self.seeds)] * len(self.units):
                raise SaebenchError(f"{name} are not one row a unit and one column a seed")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What produced a record. Nothing of it enters the digest."""

    code: str | None
    "Commit of the checkout that ran, with `+` if it was edited; null for an installed package."
    packages: dict[str, str]
    "Versions of the libraries that compute."
    python: str
    "Version of Python."
    platform: str
    "Operating system and processor."
    gpu: str | None
    "Name of the GPU that was present."
    threads: int
    "Threads of the CPU."
    device: str
    "Device that the model and the subject were on."
    seconds: float
    "Time to score the subject, in seconds."
    peak_gib: float
    "Peak resident memory of the process so far, in GiB."
    notes: list[str]
    "Warnings of the run."
    date: str
    "When the record was written, UTC, ISO 8601."
