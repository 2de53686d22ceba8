"""A Hugging Face dataset: `hf:id[@revision]?text=column&label=column[&config=name][&split=train][&test_split=test]`."""

from __future__ import annotations

import numpy as np

from saebench_lite.data.types import Data, Source
from saebench_lite.errors import SaebenchError
from saebench_lite.sources._frames import column, one_against_rest, options


def load(where: str, limit: int | None) -> Data:
    """One split (the task draws train and test), or two named ones. Code in a dataset is never run."""
    place, chosen = options(where)
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
            first = str(error).strip().splitlines()[0][:200]
            raise SaebenchError(
                f"dataset {name!r} split {split!r} cannot be loaded ({first}); check the name, or download it first"
            ) from error
        frame = table.to_pandas()
        texts += [str(t) for t in column(frame, chosen.get("text", "text"), name)]
        labels += column(frame, chosen.get("label", "label"), name).tolist()
        marks += [mark] * len(frame)  # type: ignore[arg-type] (a frame has a length)
    part = np.array(marks) if len(splits) == 2 else None
    return one_against_rest(name, texts, labels, part, limit, chosen.get("positive"))


SOURCE = Source(
    description="a Hugging Face dataset; where: id@revision?text=column&label=column&split=train", load=load
)
