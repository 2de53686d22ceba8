"""Records: one atomic, strict JSON file per (site, subject, task, version, settings, seeds). Standard library only.

The file's name is a digest of all that can change the number, so what exists need not be computed again, and a run
that was killed goes on where it stopped. Fields: docs/records.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from saebench_lite.errors import SaebenchError
from saebench_lite.files import write_text
from saebench_lite.progress import logger
from saebench_lite.records.dataclass_json import from_json, to_object
from saebench_lite.records.key import RecordKey
from saebench_lite.records.schema1 import schema1_digest, schema1_path, upgraded
from saebench_lite.records.types import (
    DataInfo,
    MetricScore,
    Provenance,
    SiteInfo,
    Status,
    SubjectInfo,
    TaskInfo,
    UnitValues,
)

SCHEMA = 2
"Of the files that are written; 1 is read too."
CHECKSUM = "checksum"
"The last key of a file: 16 hex digits of the SHA-256 of the file without it."
TABLES = ("leaderboard.md", "leaderboard.csv")
"Beside the records of a results folder."
END = "\n}\n"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What one subject scored on one task at one site."""

    task: TaskInfo
    "What was measured."
    subject: SubjectInfo
    "Who was measured."
    site: SiteInfo
    "On whose activations."
    data: DataInfo
    "On which texts."
    settings: dict[str, object]
    "The task's whole configuration; a file or folder of the user's as `name#digest` of its content."
    seeds: list[int]
    "Seeds of the evaluation; empty for a task that draws no random numbers."
    status: Status
    "`ok`, `not_applicable` (the task cannot serve this subject or site) or `failed`."
    reason: str | None = None
    "Why there are no scores; null if status is `ok`."
    scores: dict[str, MetricScore] = field(default_factory=dict)
    "By metric; empty unless status is `ok`."
    per_unit: dict[str, UnitValues] = field(default_factory=dict)
    "By metric: what the scores are computed from."
    diagnostics: dict[str, object] = field(default_factory=dict)
    "Results that are not metrics (selected latents, histograms)."
    provenance: Provenance | None = None
    "What produced the record; null before it is scored."

    def __post_init__(self) -> None:
        if set(self.task.metrics) != set(self.scores):
            odd = sorted(set(self.task.metrics) ^ set(self.scores))
            raise SaebenchError(f"metric {odd[0]!r} is either scored and not declared in task.metrics, or the reverse")
        if odd := sorted(set(self.per_unit) - set(self.scores)):
            raise SaebenchError(f"metric {odd[0]!r} has unit values and no score")

    def __repr__(self) -> str:
        """In a line: subject, task, status, and the first headline metric or the reason why there is none."""
        metric = next((m for m in self.task.shown if m in self.scores), next(iter(self.scores), None))
        said = "" if self.reason is None else f": {self.reason}"
        if metric is not None:
            said = f", {metric} {self.scores[metric].value:.3g}"
        return f"<Record {self.subject.name!r}, {self.task.name}, {self.status}{said}>"

    @property
    def key(self) -> RecordKey:
        """All that can change the number."""
        return RecordKey(
            task=self.task.name,
            version=self.task.version,
            package=self.task.package,
            subject=self.subject.name,
            fingerprint=self.subject.fingerprint,
            site=self.site,
            data=self.data.digest,
            settings=self.settings,
            seeds=self.seeds,
        )

    @cached_property
    def digest(self) -> str:
        """Digest of the key."""
        return self.key.digest

    @property
    def date(self) -> str:
        """When the record was written; empty before that."""
        return "" if self.provenance is None else self.provenance.date

    def path(self, root: Path) -> Path:
        """Where the record lies under a results folder."""
        return self.key.path(root)

    def save(self, root: Path) -> Path:
        """Writes the record in one step, so that a reader never sees half a file; removes its schema-1 file."""
        path = self.path(root)
        write_text(path, sealed(to_json({"schema": SCHEMA} | to_object(self))))
        schema1_path(self.key, root).unlink(missing_ok=True)
        return path

    @classmethod
    def load(cls, path: Path) -> Record:
        """Reads and checks a record of schema 2 or 1.

        SaebenchError if it is not one, is damaged, lies under another name than its digest, or does not fit its
        checksum (files of before checksums have none).
        """
        try:
            if not path.is_file():
                raise ValueError("it is no regular file")
            text = path.read_text(encoding="utf-8")
            content = json.loads(text, parse_constant=_refuse_constant)
        except (OSError, ValueError, RecursionError) as error:
            raise SaebenchError(f"{path} is not a record ({error}); delete it and run again") from error
        schema = content.pop("schema", None) if isinstance(content, dict) else SCHEMA
        checksum = content.pop(CHECKSUM, None) if isinstance(content, dict) else None
        if schema not in (1, SCHEMA):
            raise SaebenchError(f"{path} has schema {schema}; this version reads 1 and {SCHEMA}: run the task again")
        try:
            record = from_json(cls, upgraded(content) if schema == 1 else content)
        except SaebenchError as error:
            raise SaebenchError(f"{path} is not a record ({error}); delete it and run again") from None
        expected = record.digest if schema == SCHEMA else schema1_digest(record.key)
        if expected != path.stem:
            raise SaebenchError(f"{path} was edited or renamed: its content has the digest {expected}")
        if checksum is not None and not _is_sealed(text):
            raise SaebenchError(f"{path} was edited: it does not fit its checksum; delete it and run again")
        return record


def stored_path(key: RecordKey, root: Path) -> Path | None:
    """The file that holds the record of a key, whichever schema it has; None if there is none."""
    return next((p for p in (key.path(root), schema1_path(key, root)) if p.exists()), None)


def to_json(value: Mapping[str, object]) -> str:
    """Strict JSON (no NaN or Infinity), one top-level key a line, so that records diff and compress well."""
    lines = [f"{json.dumps(k)}: {json.dumps(v, allow_nan=False, sort_keys=True)}" for k, v in value.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def sealed(text: str) -> str:
    """The text of a record as `to_json` writes it, with its checksum as the last key."""
    return f'{text.removesuffix(END)},\n"{CHECKSUM}": "{_checksum(text)}"{END}'


def _is_sealed(text: str) -> bool:
    """Whether the last key of a record is the checksum of all that stands before it."""
    before, _, checksum = text.rpartition(f',\n"{CHECKSUM}": ')
    return checksum == f'"{_checksum(before + END)}"{END}'


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def paths_of(root: Path) -> list[Path]:
    """Files that should be records under a results folder."""
    return sorted((root / "records").glob("*/*/*.json"))


def read_all(root: Path) -> tuple[list[Record], list[str]]:
    """All readable records under a results folder, and one sentence for each file that is not one.

    Where a key has a file of each schema, the one of schema 2 counts.
    """
    records: dict[str, Record] = {}
    complaints = []
    for path in paths_of(root):
        try:
            record = Record.load(path)
        except SaebenchError as error:
            complaints.append(str(error))
            continue
        if path.stem == record.digest or record.digest not in records:
            records[record.digest] = record
    return list(records.values()), complaints


def read(folder: str | Path) -> list[Record]:
    """The records of a results folder; a warning names each file that is left out. SaebenchError if there are none."""
    records, complaints = read_all(Path(folder))
    for sentence in complaints:
        logger.warning(f"left out: {sentence}")
    if not records:
        raise nothing_at(folder)
    return records


def nothing_at(folder: str | Path) -> SaebenchError:
    """What is said of a folder without records."""
    missing = "" if Path(folder).exists() else " (there is no such folder)"
    return SaebenchError(f"{folder} holds no records{missing}; give the folder that a run wrote to")


def rounded(value: float, digits: int = 9) -> float | None:
    """A JSON number with `digits` significant digits; None for NaN."""
    return None if value != value else float(f"{value:.{digits}g}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
