"""Batches of activations read from texts as training goes: shuffled, without end, the same after an interruption."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from saebench_lite.activations.store import collect
from saebench_lite.data.types import Corpus
from saebench_lite.errors import SaebenchError
from saebench_lite.models.protocol import Model

TEXTS_A_PASS = 256
"Texts that go through the model before their activations join the buffer."
ROWS = 1 << 17
"Rows of a buffer, about: batches are drawn from it at random, so that neighbours in a text part."


@dataclass(frozen=True)
class Place:
    """Where a stream stands: what it needs to go on exactly as it would have."""

    epoch: int = 0
    "Times that all texts had been read when the buffer was begun."
    text: int = 0
    "Texts of that epoch read before it."
    taken: int = 0
    "Batches already drawn from it."


class TextStream:
    """Activations of texts at a hook in random order; a function of model, texts, sizes and seed alone."""

    def __init__(
        self, lm: Model, hook: str, texts: Sequence[str], *, batch: int, rows: int = ROWS, seed: int = 0
    ) -> None:
        """A stream from its first batch on.

        Args:
            lm: the model.
            hook: where its activations are read; tokens that the rule of the site leaves out are left out here too.
            texts: to read, each once an epoch in an order of its own; equal ones count once.
            batch: rows of a batch.
            rows: of a buffer, at least; raised to a batch where it is smaller.
            seed: of both shuffles.
        """
        if not texts:
            raise SaebenchError("there are no texts to train on; name a source that holds some")
        self.lm, self.hook, self.texts = lm, hook, tuple(dict.fromkeys(texts))
        self.batch, self.rows, self.seed = batch, max(rows, batch), seed

    def batches(self, place: Place | None = None) -> Iterator[tuple[Tensor, Place]]:
        """Batches [batch, d] from a place on, each with the place after it.

        SaebenchError where all texts together hold fewer rows than a batch.
        """
        place = place or Place()
        while True:
            buffer, after = self._buffer(place)
            for number in range(place.taken, len(buffer) // self.batch):
                rows = buffer[number * self.batch : (number + 1) * self.batch]
                yield rows, Place(place.epoch, place.text, number + 1)
            place = after

    def _buffer(self, start: Place) -> tuple[Tensor, Place]:
        """The rows of the buffer begun at a place, shuffled, and the place at which the next begins."""
        parts, held, epoch, text = [], 0, start.epoch, start.text
        while held < self.rows:
            order = torch.randperm(len(self.texts), generator=self._generator(epoch)).tolist()
            chosen = tuple(self.texts[i] for i in order[text : text + TEXTS_A_PASS])
            acts, _ = collect(self.lm, self.hook, Corpus("training", chosen))
            parts.append(acts.x)
            held, text = held + acts.tokens, text + len(chosen)
            if text >= len(self.texts):
                epoch, text = epoch + 1, 0
                if epoch > start.epoch + 1:
                    break  # a buffer never holds a text more than twice
        x = torch.cat(parts)
        if len(x) < self.batch:
            raise SaebenchError(
                f"{len(self.texts)} texts hold {len(x)} tokens to train on where a batch has {self.batch}; give more"
                " texts or a smaller batch"
            )
        order = torch.randperm(len(x), generator=self._generator(start.epoch, 1 + start.text))
        return x[order], Place(epoch, text)

    def _generator(self, epoch: int, part: int = 0) -> torch.Generator:
        """Random numbers of one shuffle: the texts of an epoch (part 0) or the buffer begun at a text of it."""
        return torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) * 10_000_019 + part)
