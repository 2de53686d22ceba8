"""docs/records.md out of the types: `python -m saebench_lite.records.describe > docs/records.md`."""

from __future__ import annotations

import ast
import inspect
import sys
from dataclasses import MISSING, fields
from itertools import pairwise
from typing import get_args

from saebench_lite.records.key import RecordKey
from saebench_lite.records.metric import Better, Construct, Metric
from saebench_lite.records.record import SCHEMA, Record
from saebench_lite.records.schema1 import BOUNDS, KEYS, KINDS
from saebench_lite.records.types import (
    DataInfo,
    Kind,
    MetricScore,
    Provenance,
    SiteInfo,
    Status,
    SubjectInfo,
    TaskInfo,
    UnitValues,
)

TYPES = (Record, TaskInfo, Metric, SubjectInfo, SiteInfo, DataInfo, MetricScore, UnitValues, Provenance)


CHOICES = {"Better": Better, "Construct": Construct, "Kind": Kind, "Status": Status}


HEAD = f"""# Records

A record is what one subject scored on one task at one site: a strict JSON file (UTF-8, no NaN or Infinity), one
top-level key a line, the first of them `"schema": {SCHEMA}`. This page is written by
`python -m saebench_lite.records.describe` from the types in `saebench_lite/records`; `object` stands for any JSON
value, and a key whose value is the default may be left out.

A record lies in `FOLDER/records/TASK@VERSION/SUBJECT/DIGEST.json`. The digest is the first 16 hex digits of the SHA-256
of its key (below) as JSON with sorted keys and no spaces: all that can change the number, and nothing else. A run that
meets a record of the same key does not compute it again. `saebench-lite verify FOLDER` recomputes every digest from its
parts and every score from the unit values; with `--upgrade` it first rewrites records of schema 1 as schema {SCHEMA}.
"""


def sentences(kind: type) -> dict[str, str]:
    """Field -> the sentence below it in the source; fields without one are left out."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(kind)).body if isinstance(node, ast.ClassDef))
    out = {}
    for node, following in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(following, ast.Expr):
            out[node.target.id] = ast.literal_eval(following.value)
    return out


def table(kind: type) -> str:
    """Heading, first line of the docstring, and a row a field of a dataclass."""
    told = sentences(kind)
    lines = [f"## {kind.__name__}", "", (inspect.getdoc(kind) or "").splitlines()[0], "", "| key | type | meaning |"]
    lines.append("|-----|------|---------|")
    for f in fields(kind):
        default = "" if f.default is MISSING else f" Default: `{'null' if f.default is None else repr(f.default)}`."
        lines.append(f"| `{f.name}` | `{str(f.type).replace('|', chr(92) + '|')}` | {told[f.name]}{default} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """The whole page."""
    renamed = [
        f"`{old}` → `{new}`" for old, new in (KEYS | BOUNDS | KINDS | {"site.tokens": "site.token_rule"}).items()
    ]
    old = (
        "## Schema 1\n\nRead as well, under the name that its own digest gives it. It repeated the declarations of all"
        "\nmetrics of a task, scored or not, and named the token rule by a sentence. Renamed:\n"
        + ",\n".join(renamed)
        + ".\n"
    )
    choices = [f"- `{name}`: {', '.join(f'`{c}`' for c in get_args(kind))}" for name, kind in CHOICES.items()]
    words = "## Choices\n\n" + "\n".join(choices) + "\n"
    return "\n".join([HEAD, table(RecordKey), *(table(kind) for kind in TYPES), words, old])


if __name__ == "__main__":
    sys.stdout.write(page())
