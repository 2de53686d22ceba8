"""A Hugging Face dataset: `hf:id[@revision]?text=column&label=column[&config=name][&split=train][&test_split=test]`."""

from __future__ import annotations

import numpy as np

from saebench_lite.data.types import Data, Source
from saebench_lite.errors import SaebenchError, reason
from saebench_lite.sources._labels import one_against_rest, plain_texts
from saebench_lite.sources._tables import column, options

OPTIONS = ("text", "label", "config", "split", "test_split", "positive")


def load(where: str, limit: int | None) -> Data:
    """One split (the task draws train and test), or two named ones. Code in a dataset is never run."""
    place, chosen = options(where, OPTIONS)
    name, _, revision = place.partition("@")
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise SaebenchError("Hugging Face datasets need the extra: install saebench-lite[data]") from error
    texts: list[str] = []
    labels: list[object] = []
    marks: list[str] = []
    splits = [(chosen.get("split", "train"), "train")]
    splits += [(chosen["test_split"], "test")] if "test_split" in chosen else []
    for split, mark in splits:
        try:
            table = load_dataset(name, chosen.get("config"), split=split, revision=revision or None)
        except Exception as error:
            raise SaebenchError(
                f"dataset {name!r} split {split!r} cannot be loaded ({reason(error)}); check the name, or download it"
                " first"
            ) from error
        columns = {c: list(table[c]) for c in table.column_names}
        texts += plain_texts(column(columns, chosen.get("text", "text"), name), name)
        labels += column(columns, chosen.get("label", "label"), name)
        marks += [mark] * len(texts[len(marks) :])
    part = np.array(marks) if len(splits) == 2 else None
    return one_against_rest(name, texts, labels, part, limit, chosen.get("positive"))


SOURCE = Source(
    description="a Hugging Face dataset; where: id@revision?text=column&label=column&split=train", load=load
)
