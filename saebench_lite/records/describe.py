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
The last key, `"checksum"`, is the first 16 hex digits of the SHA-256 of the file without that key (and the comma and
line break before it): a file of which anything was changed is not read. Files of before checksums have none.
"""


TOKENS = """## Which tokens are read

Special tokens are read by the model and by no statistic. In many models a few other tokens, above all the first one of
a text, have a norm a hundred times that of the rest (attention sinks, Xiao et al., arXiv:2309.17453). One of them
outweighs its text in explained variance, in pooled values and in the loss of a training SAE. So each hook of a model is
measured once on 64 texts shipped with the package, and `site.token_rule` says what came of it:

- If any of their tokens, BOS included, has a norm over 10 times the median of the tokens that are not special, all
  tokens over that limit are left out at that hook: `norm<=10xmedian`. `--leave-out sinks:20` sets another multiple,
  `--leave-out first` leaves out the first token of each text as well, `--leave-out special` nothing but special tokens.
  A text of which nothing would be left keeps its last token.
- If the tokenizer puts no special token in front of a text and the first token of most of those texts is such a sink in
  the middle block, BOS (EOS where there is none) is put there: `bos:TOKEN`. `--bos prepend`, `--bos as-is`,
  `--bos none` and `--bos TOKEN` say it instead; give the token that the SAEs were trained with.
- A model that shows no sink is read as it is, and nothing is left out for its norm: `no-special-tokens` alone.

The same positions are left out of stored activations, of splices (they keep the model's activation under
reconstruction and both ablations, and no prediction made from them counts), of directions trained through the model
and of the activations that `saebench_lite.recipes.train_sae` trains on: for SAEs, baselines and controls alike. How
many tokens of a corpus that were is a note in each record that read it. Records of two rules never stand in one table.
An SAE whose own metadata name another rule, or a BOS that the site lacks, is scored by the rule of the site, with a
note. For a model with random weights to stand beside its original all parts of the rule must be the same but the limit,
which is measured.
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
    return "\n".join([HEAD, table(RecordKey), *(table(kind) for kind in TYPES), TOKENS, words, old])


if __name__ == "__main__":
    sys.stdout.write(page())
