"""A local table: `local:path.csv?text=column&label=column[&split=column][&positive=value]`."""

from __future__ import annotations

from pathlib import Path

from saebench_lite.data.types import Data, Source
from saebench_lite.sources._frames import column, one_against_rest, options, parts, read_table


def load(where: str, limit: int | None) -> Data:
    """CSV, TSV, JSONL or Parquet with a text and a label column (called so unless named otherwise)."""
    place, chosen = options(where)
    path = Path(place).expanduser()
    frame = read_table(path)
    texts = [_text(t) for t in column(frame, chosen.get("text", "text"), path.name)]
    labels = column(frame, chosen.get("label", "label"), path.name).tolist()
    part = parts(column(frame, chosen["split"], path.name).tolist(), path.name) if "split" in chosen else None
    return one_against_rest(path.stem, texts, labels, part, limit, chosen.get("positive"))


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None or value != value else str(value)


SOURCE = Source(description="a CSV, TSV, JSONL or Parquet file; where: path?text=column&label=column", load=load)
