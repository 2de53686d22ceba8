"""The identity of a record: all that can change its number, the digest of that, and where the record lies."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from saebench_lite.files import digest, safe_name
from saebench_lite.records.types import SiteInfo


@dataclass(frozen=True, kw_only=True)
class RecordKey:
    """All that can change a record's number, whatever the schema of its file."""

    task: str
    "Name of the task."
    version: int
    "Version of the task."
    package: str
    "Distribution that registered the task."
    subject: str
    "Name of the subject."
    fingerprint: str
    "Fingerprint of the subject."
    site: SiteInfo
    "Model and hook point."
    data: str
    "Digest of the data."
    settings: dict[str, object]
    "The task's whole configuration; a file or folder of the user's as `name#digest` of its content."
    seeds: list[int]
    "Seeds of the evaluation."

    @property
    def digest(self) -> str:
        """16 hex digits; of float32 encoders those of before they could be anything else."""
        content = asdict(self)
        if self.site.encode == "float32":
            del content["site"]["encode"]
        return digest(content)

    def path(self, root: Path) -> Path:
        """Where the record lies under a results folder."""
        return self.folder(root) / f"{self.digest}.json"

    def folder(self, root: Path) -> Path:
        """The subject's records of the task under a results folder."""
        return root / "records" / f"{self.task}@{self.version}" / safe_name(self.subject)
