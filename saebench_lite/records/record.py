"""Records: one atomic, strict JSON file per (site, subject, task, version, settings, seeds). Standard library only.

The file's name is a digest of all that can change the number, so what exists need not be computed again, and a run
that was killed goes on where it stopped.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from saebench_lite.errors import SaebenchError
from saebench_lite.files import digest, safe_name, write_text

SCHEMA = 1


Status = Literal["ok", "not_applicable", "failed"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """What one subject scored on one task at one site.

    `scores`: metric -> {value, low, high, n, per_seed}; `details`: {"seeds", "metrics": {metric: {"units", "values",
    "weights"}}} with values [units][seeds]; both empty unless status is ok.
    """

    task: dict[str, Any]
    "name, version, package, package_version, and the card's metrics as written when the record was made."
    subject: dict[str, Any]
    "name, kind, fingerprint, meta."
    site: dict[str, Any]
    "model, revision, weights digest, hook, dtype, token rule."
    data: dict[str, Any]
    "name and digest of what the task read."
    settings: dict[str, Any]
    "The task's whole config."
    seeds: list[int]
    status: Status
    reason: str | None = None
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    made: dict[str, Any] = field(default_factory=dict)
    "Provenance: versions, commit, device, seconds, peak memory, warnings. Not part of the digest."
    schema: int = SCHEMA

    def identity(self) -> dict[str, Any]:
        """All that can change the number."""
        return {
            "schema": self.schema,
            "task": [self.task["name"], self.task["version"], self.task["package"]],
            "subject": [self.subject["name"], self.subject["fingerprint"]],
            "site": self.site,
            "data": self.data["digest"],
            "settings": self.settings,
            "seeds": self.seeds,
        }

    @property
    def digest(self) -> str:
        """16 hex digits of the identity."""
        return digest(self.identity())

    def path(self, root: Path) -> Path:
        """Where the record lies under a results folder."""
        folder = f"{self.task['name']}@{self.task['version']}"
        return root / "records" / folder / safe_name(self.subject["name"]) / f"{self.digest}.json"

    def save(self, root: Path) -> Path:
        """Writes the record in one step; a reader never sees half a file."""
        path = self.path(root)
        write_text(path, to_json(asdict(self)))
        return path

    @classmethod
    def load(cls, path: Path) -> Record:
        """Reads and checks a record; SaebenchError if it is not one, is damaged, or lies under a wrong name."""
        try:
            record = cls(**json.loads(path.read_text(), parse_constant=_refuse_constant))
        except (OSError, ValueError, TypeError) as error:
            raise SaebenchError(f"{path} is not a record ({error}); delete it and run again") from error
        if record.schema != SCHEMA:
            raise SaebenchError(f"{path} has schema {record.schema}; this version reads {SCHEMA}: run the task again")
        if record.digest != path.stem:
            raise SaebenchError(f"{path} was edited or renamed: its content has the digest {record.digest}")
        return record


def to_json(value: Any) -> str:
    """Strict JSON (no NaN or Infinity), one top-level key a line, so that records diff and compress well."""
    lines = [f"{json.dumps(k)}: {json.dumps(v, allow_nan=False, sort_keys=True)}" for k, v in value.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read_all(root: Path) -> tuple[list[Record], list[str]]:
    """All readable records under a results folder, and one sentence for each file that is not one."""
    records, complaints = [], []
    for path in sorted((root / "records").glob("*/*/*.json")):
        try:
            records.append(Record.load(path))
        except SaebenchError as error:
            complaints.append(str(error))
    return records, complaints


def rounded(value: float, digits: int = 9) -> float | None:
    """A JSON number with `digits` significant digits; None for NaN."""
    return None if value != value else float(f"{value:.{digits}g}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
