"""AxBench concept-detection sets (Wu et al., arXiv:2501.17148): `axbench:folder`.

The folder holds train.parquet, eval.parquet and metadata.jsonl, or AxBench's own layout (generate/train_data.parquet,
generate/metadata.jsonl, inference/latent_eval_data.parquet). A text is the instruction, a newline and the response;
AxBench wraps both in the chat template of its instruction-tuned model, which other models do not have.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from saebench_lite.data.types import Corpus, Data, Labelled, Source
from saebench_lite.errors import SaebenchError, reason
from saebench_lite.sources._labels import plain_texts
from saebench_lite.sources._tables import read_parquet

LAYOUTS = (
    ("train.parquet", "eval.parquet", "metadata.jsonl"),
    ("generate/train_data.parquet", "inference/latent_eval_data.parquet", "generate/metadata.jsonl"),
)
COLUMNS = ("input", "output", "category", "concept_id", "concept_genre")


def load(where: str, limit: int | None) -> Data:
    """One concept each: its training positives against the negatives of its first genre; hard negatives apart."""
    folder = Path(where).expanduser()
    layout = next((names for names in LAYOUTS if all((folder / n).is_file() for n in names)), None)
    if not where or layout is None:
        raise SaebenchError(f"{where!r} is no AxBench folder; it needs {', '.join(LAYOUTS[0])} (stanfordnlp/axbench)")
    train, test = (read_parquet(folder / name) for name in layout[:2])
    for frame in (train, test):
        if absent := [name for name in COLUMNS if name not in frame.columns]:
            there = ", ".join(map(str, frame.columns))
            raise SaebenchError(f"{folder.name} has no column {absent[0]!r}; its columns are {there}")
        parts = [plain_texts(frame[name].tolist(), f"{folder.name} {name}") for name in ("input", "output")]
        lacking = next((i for i, pair in enumerate(zip(*parts, strict=True)) if not all(pair)), None)
        if lacking is not None:
            raise SaebenchError(f"{folder.name} row {lacking} has no input or no output; drop the row")
        frame["text"] = ["\n".join(pair) for pair in zip(*parts, strict=True)]
    index = {text: i for i, text in enumerate(dict.fromkeys([*train["text"], *test["text"]]))}
    corpus = Corpus(folder.name, tuple(index))
    lines = (folder / layout[2]).read_text(encoding="utf-8").splitlines()
    concepts = tuple(
        _read_concept(line, f"{layout[2]} line {i}", train, test, index, corpus)
        for i, line in enumerate(lines[:limit], 1)
        if line.strip()
    )
    return Data("axbench", concepts=concepts, texts=(corpus,))


def _read_concept(line: str, where: str, train: Any, test: Any, index: dict[str, int], corpus: Corpus) -> Labelled:
    """`_concept` of a line of metadata; SaebenchError for one that is not as AxBench writes it.

    Args:
        line: JSON.
        where: what messages call it.
        train: table of training texts.
        test: table of test texts.
        index: place of each text in the corpus.
        corpus: all texts.
    """
    try:
        return _concept(json.loads(line), train, test, index, corpus)
    except SaebenchError:
        raise
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise SaebenchError(f"{where} is not AxBench metadata ({reason(error)}); download it again") from error


def _concept(meta: dict[str, Any], train: Any, test: Any, index: dict[str, int], corpus: Corpus) -> Labelled:
    number, concept = meta["concept_id"], meta["concept"]
    genre = meta["concept_genres_map"][concept][0]
    ours = train["concept_id"] == number
    negatives = (train["category"] == "negative") & (train["concept_genre"] == genre)
    eval_rows = test[test["concept_id"] == number]
    pieces = [
        (train[ours & (train["category"] == "positive")], True, "train"),
        (train[negatives], False, "train"),
        (eval_rows[eval_rows["category"] == "positive"], True, "test"),
        (eval_rows[eval_rows["category"] == "negative"], False, "test"),
        (eval_rows[eval_rows["category"] == "hard negative"], False, "hard"),
    ]
    rows = np.concatenate([[index[t] for t in frame["text"]] for frame, _, _ in pieces]).astype(np.int64)
    sizes = [len(frame) for frame, _, _ in pieces]
    positive = np.repeat([yes for _, yes, _ in pieces], sizes)
    part = np.repeat([mark for _, _, mark in pieces], sizes)
    latent = str(meta.get("ref", "")).rstrip("/").rsplit("/", 1)[-1]
    named = int(latent) if latent.isascii() and latent.isdigit() and len(latent) < 10 else None
    return Labelled(f"{number}: {concept}"[:80], corpus, rows, positive, part, named_latent=named)


SOURCE = Source(
    description="AxBench concept sets; where: a folder with train.parquet, eval.parquet, metadata.jsonl", load=load
)
