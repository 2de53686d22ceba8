"""Texts and labels as tasks see them, whatever source they came from. Pure data: no files, no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Literal

import numpy as np

from saebench_lite.errors import MOST_WHOLE, SaebenchError, told

LongTexts = Literal["cut_right", "cut_left", "refuse"]


@dataclass(frozen=True)
class Corpus:
    """Distinct texts that go through the model together, once."""

    name: str
    texts: tuple[str, ...]
    long_texts: LongTexts = "cut_right"
    "What happens to a text longer than the context: which end is cut, or an error."
    context: int | None = None
    "Tokens a text may have, special tokens included; None: as many as the model takes."

    def __post_init__(self) -> None:
        if isinstance(self.texts, str):
            raise SaebenchError(
                f"dataset {self.name!r} has one text ({self.texts[:40]!r}) as texts; give a tuple of texts"
            )
        whole = isinstance(self.context, Integral) and not isinstance(self.context, bool)
        if self.context is not None and not (whole and 1 <= self.context <= MOST_WHOLE):
            given = f"a context of {told(self.context)} tokens"
            raise SaebenchError(f"dataset {self.name!r} has {given}; give a whole number, 1 at least")
        if not self.texts:
            raise SaebenchError(f"dataset {self.name!r} holds no texts; check the file or the --limit")
        for row, text in enumerate(self.texts):
            if not isinstance(text, str) or not text.strip():
                raise SaebenchError(f"dataset {self.name!r} row {row} has an empty text ({text!r}); drop or fill it")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the texts and of how they are cut."""
        sha = hashlib.sha256(f"{self.long_texts} {self.context}".encode())
        for text in self.texts:
            data = text.encode("utf-8", "surrogatepass")
            sha.update(len(data).to_bytes(8, "little") + data)
        return sha.hexdigest()


@dataclass(frozen=True, eq=False)
class Labelled:
    """One yes/no question about texts of a corpus.

    `rows` [n] index into corpus.texts; `positive` [n] bool; `part` [n] of "train", "test", "hard" (test negatives that
    look like positives), or None where the task draws the split. `named_latent` is a latent fixed in advance.
    """

    name: str
    corpus: Corpus
    rows: np.ndarray
    positive: np.ndarray
    part: np.ndarray | None = None
    named_latent: int | None = None

    def __post_init__(self) -> None:
        if len(self.rows) != len(self.positive) or (self.part is not None and len(self.part) != len(self.rows)):
            raise SaebenchError(f"dataset {self.name!r} has {len(self.rows)} texts but {len(self.positive)} labels")
        if self.positive.all() or not self.positive.any():
            only = "positive" if self.positive.any() else "negative"
            raise SaebenchError(f"dataset {self.name!r} has only {only} labels; a probe needs both classes")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of texts, rows, labels, parts and the named latent."""
        sha = hashlib.sha256(self.corpus.fingerprint.encode())
        sha.update(np.asarray(self.rows, dtype=np.int64).tobytes() + np.asarray(self.positive, dtype=bool).tobytes())
        sha.update(repr((None if self.part is None else self.part.tolist(), self.named_latent)).encode())
        return sha.hexdigest()


@dataclass(frozen=True, eq=False)
class Parents:
    """Parent features of a hierarchy: which of them is present at each text's last token.

    `names` of the parents; `member` [parents, texts] bool: the parent (and so perhaps a child of it) is present.
    """

    name: str
    corpus: Corpus
    names: tuple[str, ...]
    member: np.ndarray

    def __post_init__(self) -> None:
        if self.member.shape != (len(self.names), len(self.corpus.texts)):
            raise SaebenchError(
                f"hierarchy {self.name!r} has {len(self.names)} parents and {len(self.corpus.texts)} texts, but member"
                f" has shape {list(self.member.shape)}"
            )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of texts, names and members."""
        sha = hashlib.sha256(self.corpus.fingerprint.encode() + repr(self.names).encode())
        sha.update(np.packbits(self.member).tobytes())
        return sha.hexdigest()


@dataclass(frozen=True)
class Data:
    """What a source returns: yes/no datasets, concepts to detect, plain texts, hierarchies; any may be empty."""

    name: str
    datasets: tuple[Labelled, ...] = ()
    "For sparse probing."
    concepts: tuple[Labelled, ...] = ()
    "For concept detection."
    texts: tuple[Corpus, ...] = ()
    "For reconstruction and CE-loss delta."
    parents: tuple[Parents, ...] = ()
    "For absorption, in place of the first letters of a vocabulary."
    notes: tuple[str, ...] = field(default=())
    "Warnings stored in every record made from this data."


@dataclass(frozen=True, kw_only=True)
class Source:
    """A named origin of data: `--data name` or `--data name:where`."""

    description: str
    "One line: what it holds and which form `where` takes."
    load: Callable[[str, int | None], Data]
    "(where, limit) -> Data; `limit` caps datasets per kind and keeps the first ones. SaebenchError if it is missing."
    pull: Callable[[], Path] | None = None
    "Downloads and checksums the data; returns where it lies. For `saebench-lite data pull`."
