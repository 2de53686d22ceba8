"""Records of schema 1, read as schema 2: the same scores and provenance under other keys.

Schema 1 repeated the declaration of every metric of a task in each of its records, and its site held the token rule as
a sentence. Its file names are digests of that sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from saebench_lite.errors import SaebenchError
from saebench_lite.files import digest
from saebench_lite.records.key import RecordKey

TOKEN_RULES = {
    "no-special-tokens": "real tokens: BOS, EOS, PAD and other special tokens are read by the model and left out of"
    " every statistic"
}
"Code of schema 2 -> sentence of schema 1."
KINDS = {"stand-in": "dictionary baseline"}
"Kind of subject in schema 1 -> in schema 2."
KEYS = {"details": "per_unit", "facts": "diagnostics", "made": "provenance"}
"Key of schema 1 -> key of schema 2."
BOUNDS = {"lo": "lower_bound", "hi": "upper_bound"}


def upgraded(content: Mapping[str, object]) -> dict[str, object]:
    """The content of a schema-1 file, without `schema`, under the keys of schema 2.

    SaebenchError where a part to change is no object.
    """
    task, subject, site, scores = (_part(content, k) for k in ("task", "subject", "site", "scores"))
    metrics = {name: {BOUNDS.get(k, k): v for k, v in _part(_part(task, "metrics"), name).items()} for name in scores}
    codes = {sentence: code for code, sentence in TOKEN_RULES.items()}
    rule = site.get("tokens")
    new = {KEYS.get(k, k): v for k, v in content.items()}
    new["task"] = task | {"metrics": metrics}
    new["subject"] = subject | {"kind": KINDS.get(str(subject.get("kind")), subject.get("kind"))}
    new["site"] = {k: v for k, v in site.items() if k != "tokens"} | {"token_rule": codes.get(str(rule), rule)}
    return new


def schema1_digest(key: RecordKey) -> str:
    """The digest under which schema 1 stored the record of this key."""
    site = asdict(key.site)
    rule = site.pop("token_rule")
    del site["encode"]
    return digest(
        {
            "schema": 1,
            "task": [key.task, key.version, key.package],
            "subject": [key.subject, key.fingerprint],
            "site": site | {"tokens": TOKEN_RULES.get(rule, rule)},
            "data": key.data,
            "settings": key.settings,
            "seeds": key.seeds,
        }
    )


def schema1_path(key: RecordKey, root: Path) -> Path:
    """Where schema 1 stored the record of this key."""
    return key.folder(root) / f"{schema1_digest(key)}.json"


def _part(content: Mapping[str, object], key: str) -> dict[str, object]:
    part = content.get(key)
    if not isinstance(part, dict):
        raise SaebenchError(f"it has no object {key!r}")
    return part
