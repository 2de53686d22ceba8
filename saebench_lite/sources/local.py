"""A local file: `local:path.csv?text=column&label=column[&split=column][&positive=value]`, or `local:path.txt`."""

from __future__ import annotations

from pathlib import Path

from saebench_lite.data.types import Corpus, Data, Source
from saebench_lite.errors import SaebenchError
from saebench_lite.sources._labels import one_against_rest, parts, plain_texts
from saebench_lite.sources._tables import column, decoded, options, read_table

OPTIONS = ("text", "label", "split", "positive")


def load(where: str, limit: int | None) -> Data:
    """CSV, TSV, JSON, JSONL or Parquet with a text and a label column (called so unless named otherwise).

    Texts alone, which have no labels to probe for, are the lines of a .txt file, or a table's with `label=` left empty.
    """
    place, chosen = options(where, OPTIONS)
    path = Path(place).expanduser()
    name = path.name.split(".")[0]
    if path.suffix.lower() == ".txt":
        if chosen:
            raise SaebenchError(f"{path.name} has a text a line and no columns; leave ?{next(iter(chosen))}= out")
        return _texts_alone(name, [line for line in decoded(path).splitlines() if line.strip()])
    table = read_table(path)
    texts = plain_texts(column(table, chosen.get("text", "text"), path.name), path.name, table.place)
    if chosen.get("label") == "":
        return _texts_alone(name, [text for text in texts if text.strip()])
    labels = column(table, chosen.get("label", "label"), path.name)
    part = parts(column(table, chosen["split"], path.name), path.name) if "split" in chosen else None
    return one_against_rest(name, texts, labels, part, limit, chosen.get("positive"), table.place)


def _texts_alone(name: str, texts: list[str]) -> Data:
    return Data(name, texts=(Corpus(name, tuple(dict.fromkeys(texts))),))


SOURCE = Source(
    description="a CSV, TSV, JSON, JSONL or Parquet file (where: path?text=column&label=column), or a .txt of texts",
    load=load,
)
