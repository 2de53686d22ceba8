"""Texts with known attributes: some to match latents on, others in pairs that differ in an attribute."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

UNKNOWN = -1

Text = tuple[str, dict[int, int]]
"A text and the values of its attributes, {place of the attribute: place of the value}; others are not known."


class Attribute(NamedTuple):
    """What two texts of a pair differ in."""

    name: str
    values: tuple[str, ...]
    "Each is a concept of its own; an empty name stands for its absence, which is none."


class Sample:
    """Distinct texts with their attributes, filled text by text."""

    def __init__(self, attributes: tuple[Attribute, ...]) -> None:
        self.attributes = attributes
        self._rows: dict[str, int] = {}
        self._values: list[dict[int, int]] = []
        self._match: dict[int, None] = {}
        self._pairs: dict[tuple[int, int], None] = {}

    def to_match(self, text: str, values: dict[int, int]) -> None:
        """Adds a text to those on which latents are matched; one that is there already is not added twice."""
        self._match[self._row((text, values))] = None

    def pair(self, first: Text, second: Text) -> None:
        """Adds a pair; one that is there already, or whose texts are the same, is left out."""
        rows = self._row(first), self._row(second)
        if rows[0] != rows[1]:
            self._pairs[rows] = None

    def _row(self, text: Text) -> int:
        row = self._rows.setdefault(text[0], len(self._rows))
        if row == len(self._values):
            self._values.append(dict(text[1]))
        self._values[row] |= text[1]
        return row

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts, distinct."""
        return tuple(self._rows)

    @property
    def match(self) -> np.ndarray:
        """Rows of the texts to match latents on; none of a pair is among them. [n]"""
        paired = {row for pair in self._pairs for row in pair}
        return np.array([row for row in self._match if row not in paired], dtype=np.int64)

    @property
    def pairs(self) -> np.ndarray:
        """Rows of both texts of each pair. [p, 2]"""
        return np.array(list(self._pairs), dtype=np.int64).reshape(-1, 2)

    @property
    def labels(self) -> np.ndarray:
        """Value of each attribute in each text, UNKNOWN where it says nothing. [texts, attributes]"""
        out = np.full((len(self._values), len(self.attributes)), UNKNOWN, dtype=np.int64)
        for row, values in enumerate(self._values):
            for attribute, value in values.items():
                out[row, attribute] = value
        return out
