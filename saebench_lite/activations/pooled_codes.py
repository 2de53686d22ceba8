"""An SAE's codes of one corpus: token by token where few are not zero, and pooled, block by block within a budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from saebench_lite.activations.acts import Acts
from saebench_lite.activations.oom_backoff import with_backoff
from saebench_lite.activations.pooling import Pooling, chunk_size, latent_blocks, pooled_codes
from saebench_lite.progress import notes_into
from saebench_lite.saes.protocol import SAE, device_of
from saebench_lite.saes.sparse_codes import Bags, encoded, joined, pool_bags, restrict_to

Tables = dict[Pooling, Tensor]


ENTRIES = 1 << 22
"Codes that are pooled at once."


class Pooled:
    """Tables {pooling: [texts, latents]} float32 on the SAE's device, and the codes that they are made from.

    Where all latents fit in `memory` bytes they are pooled once and stored. Codes that are not zero are stored if they
    are few, none is negative, and they fit beside these tables, or in half of `memory` where the tables do not fit;
    else each block, and each latent asked for again, is encoded again.
    """

    def __init__(self, sae: SAE, acts: Acts, poolings: Sequence[Pooling], memory: int, taken: int = 0) -> None:
        """An SAE's codes of activations.

        Args:
            sae: encodes them.
            acts: tokens of the texts.
            poolings: a table each.
            memory: bytes for tables and codes.
            taken: how many of them others hold, so that the codes find no room there.
        """
        self.sae, self.acts, self.poolings, self.memory = sae, acts, poolings, memory
        self.notes: list[str] = []
        "Warnings given while it encoded; whoever reads the stored tables later has them too."
        tables = 4 * len(acts) * sae.d_sae * len(poolings)
        self._room_for_codes = memory - taken - tables if taken + tables <= memory else memory // 2
        self._whole: Tables | None = None
        self._codes: Bags | None = None
        self._without_codes = False

    @property
    def nbytes(self) -> int:
        """Bytes of what is stored: the table of all latents, and the codes."""
        tables = [] if self._whole is None else [t.nbytes for t in self._whole.values()]
        return sum(tables) + (0 if self._codes is None else self._codes.nbytes)

    def drop_codes(self) -> None:
        """Frees the codes of the tokens where no table is made from them any more."""
        if self._whole is not None:
            self._codes, self._without_codes = None, True

    def codes(self) -> Bags | None:
        """Codes of all tokens that are not zero, stored; None where they are many, one is negative or they do not fit.

        The SAE encodes once for them and for the tables.
        """
        if self._codes is None and not self._without_codes:
            with notes_into(self.notes):
                self._codes = _codes_of_all_tokens(self.sae, self.acts, self._room_for_codes, self.memory)
            self._without_codes = self._codes is None
        return self._codes

    def blocks(self) -> Iterator[tuple[range, Tables]]:
        """(latents, tables) of consecutive blocks that cover all latents; one block where all of them fit in memory."""
        blocks = self._runs(self.sae.d_sae, self.memory)
        if len(blocks) == 1:
            self._whole = self._whole or self._tables(blocks[0])
            yield blocks[0], self._whole
            return
        self.codes()
        for block in self._runs(self.sae.d_sae, self._room()):
            yield block, self._tables(block)

    def columns(self, latents: Tensor) -> Iterator[tuple[Tensor, Tables]]:
        """(latents, tables) of blocks that together cover `latents` [m], distinct and ascending.

        A block may hold other latents besides.
        """
        if self._whole is not None:
            yield torch.arange(self.sae.d_sae, device=device_of(self.sae)), self._whole
            return
        for part in self._runs(len(latents), self._room()):
            block = latents[part.start : part.stop].to(device_of(self.sae))
            yield block, self._tables(block)

    @torch.no_grad()
    def rows(self, pooling: Pooling, texts: Tensor) -> Tensor:
        """Pooled codes of all latents for `texts` [m]: [m, d_sae], from the stored table or computed again."""
        if self._whole is not None:
            return self._whole[pooling][texts.to(device_of(self.sae))]
        with notes_into(self.notes):
            return pooled_codes(self.sae, self.acts.take(texts.cpu()), (pooling,), memory=self.memory)[pooling]

    def _room(self) -> int:
        """Bytes for one of several tables: the one before is still in use while it is made, beside the stored codes."""
        return self.memory // (3 if self._codes is None else 6)

    def _runs(self, latents: int, memory: int) -> list[range]:
        return latent_blocks(latents, len(self.acts), len(self.poolings), memory)

    @torch.no_grad()
    def _tables(self, latents: range | Tensor) -> Tables:
        codes = self.codes()
        if codes is None:
            with notes_into(self.notes):
                return pooled_codes(self.sae, self.acts, self.poolings, latents, memory=self.memory)
        device, offsets = device_of(self.sae), self.acts.offsets
        out: Tables = {p: torch.empty(len(self.acts), len(latents), device=device) for p in self.poolings}
        step = max(1, ENTRIES * len(self.acts) // max(1, len(codes.values)))
        for texts in torch.arange(len(self.acts)).split(step):
            low, high = int(texts[0]), int(texts[-1]) + 1
            part = restrict_to(codes.rows(int(offsets[low]), int(offsets[high])), latents, self.sae.d_sae)
            owner = torch.arange(high - low).repeat_interleave(offsets[low : high + 1].diff()).to(device)
            for p in self.poolings:
                out[p][low:high] = pool_bags(part, owner, high - low, len(latents), p)
        return out


@torch.no_grad()
def _codes_of_all_tokens(sae: SAE, acts: Acts, room: int, memory: int) -> Bags | None:
    """Codes of all tokens that are not zero; None where they are many, one is negative or they exceed `room` bytes.

    Args:
        sae: encodes.
        acts: the tokens.
        room: bytes for the codes.
        memory: bytes that bound the chunks.
    """
    device = device_of(sae)

    def collect(rows: int) -> Bags | None:
        parts: list[Bags] = []
        tokens = size = 0
        for _, x, _ in acts.chunks(rows, str(device)):
            for part in x.split(rows):
                codes = encoded(sae, part)
                if not isinstance(codes, Bags) or (codes.values < 0).any():
                    return None
                tokens, size = tokens + len(part), size + codes.nbytes
                if 2 * size * acts.tokens > room * tokens:  # twice while they are joined, if the others are as many
                    return None
                parts.append(codes)
        return joined(parts)

    return with_backoff(collect, chunk_size(sae.d_sae, device, memory))
