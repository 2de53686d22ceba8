"""The concept texts written for this project: mutually exclusive concepts, 200 texts each, a file a concept."""

from __future__ import annotations

import numpy as np

from saebench_lite.bundled import ROOT
from saebench_lite.data.types import Corpus, Data, Labelled, Source

TRAIN_TEXTS = 130
"Lines of each file that are for training; the others are for testing."


def load(where: str, limit: int | None) -> Data:
    """All concepts, or the first `limit`, each against the texts of all others; for probing and for detection."""
    concepts = {p.stem: p.read_text(encoding="utf-8").splitlines() for p in sorted((ROOT / "concepts").glob("*.txt"))}
    owner = np.repeat(np.arange(len(concepts)), [len(t) for t in concepts.values()])
    line = np.concatenate([np.arange(len(t)) for t in concepts.values()])
    part = np.where(line < TRAIN_TEXTS, "train", "test")
    corpus = Corpus("bundled", tuple(text for texts in concepts.values() for text in texts))
    rows = np.arange(len(owner))
    labelled = tuple(Labelled(name, corpus, rows, owner == i, part) for i, name in enumerate(concepts))[:limit]
    return Data("bundled", datasets=labelled, concepts=labelled, texts=(corpus,))


SOURCE = Source(description="12 concepts x 200 texts written for this project, shipped with it", load=load)
