"""A local table: `local:path.csv?text=column&label=column[&split=column][&positive=value]`."""

from __future__ import annotations

from pathlib import Path

from saebench_lite.data.types import Data, Source
from saebench_lite.sources._labels import one_against_rest, parts, plain_texts
from saebench_lite.sources._tables import column, options, read_table

OPTIONS = ("text", "label", "split", "positive")


def load(where: str, limit: int | None) -> Data:
    """CSV, TSV, JSON, JSONL or Parquet with a text and a label column (called so unless named otherwise)."""
    place, chosen = options(where, OPTIONS)
    path = Path(place).expanduser()
    table = read_table(path)
    texts = plain_texts(column(table, chosen.get("text", "text"), path.name), path.name)
    labels = column(table, chosen.get("label", "label"), path.name)
    part = parts(column(table, chosen["split"], path.name), path.name) if "split" in chosen else None
    return one_against_rest(path.name.split(".")[0], texts, labels, part, limit, chosen.get("positive"))


SOURCE = Source(description="a CSV, TSV, JSON, JSONL or Parquet file; where: path?text=column&label=column", load=load)
