"""An SAE's pooled codes of one corpus: all latents, block by block within a memory budget, then any of them again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from saebench_lite.activations.acts import Acts
from saebench_lite.activations.oom_backoff import with_backoff
from saebench_lite.activations.pooling import Pooling, chunk_size, latent_blocks, pooled_codes
from saebench_lite.progress import notes_into
from saebench_lite.saes.protocol import SAE, device_of
from saebench_lite.saes.sparse_codes import SparseCodes, pool_sparse, restrict_to, sparse_codes

Tables = dict[Pooling, Tensor]


class Pooled:
    """Tables {pooling: [texts, latents]} float32 on the SAE's device.

    Where all latents fit in `memory` bytes they are pooled once and stored. Where not, the codes of an SAE with sparse
    ones are stored if they take half of `memory` at most; else each block, and each latent asked for again, is encoded
    again.
    """

    def __init__(self, sae: SAE, acts: Acts, poolings: Sequence[Pooling], memory: int) -> None:
        self.sae, self.acts, self.poolings, self.memory = sae, acts, poolings, memory
        self.notes: list[str] = []
        "Warnings given while it encoded; whoever reads the stored tables later has them too."
        self._whole: Tables | None = None
        self._codes: list[tuple[slice, Tensor, SparseCodes]] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the table of all latents that is stored, 0 where there is none."""
        return 0 if self._whole is None else sum(t.nbytes for t in self._whole.values())

    def blocks(self) -> Iterator[tuple[range, Tables]]:
        """(latents, tables) of consecutive blocks that cover all latents; one block where all of them fit in memory."""
        blocks = self._runs(self.sae.d_sae, self.memory)
        if len(blocks) == 1:
            self._whole = self._whole or self._encoded(blocks[0])
            yield blocks[0], self._whole
            return
        with notes_into(self.notes):
            self._codes = self._codes or _codes_of_all_tokens(self.sae, self.acts, self.memory // 2)
        for block in self._runs(self.sae.d_sae, self._room()):
            yield block, self._encoded(block) if self._codes is None else self._pooled(block)

    def columns(self, latents: Tensor) -> Iterator[tuple[Tensor, Tables]]:
        """(latents, tables) of blocks that together cover `latents` [m], distinct and ascending.

        A block may hold other latents besides.
        """
        if self._whole is not None:
            yield torch.arange(self.sae.d_sae, device=device_of(self.sae)), self._whole
            return
        for part in self._runs(len(latents), self._room()):
            block = latents[part.start : part.stop].to(device_of(self.sae))
            yield block, self._encoded(block) if self._codes is None else self._pooled(block)

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

    def _encoded(self, latents: range | Tensor) -> Tables:
        with notes_into(self.notes):
            return pooled_codes(self.sae, self.acts, self.poolings, latents, memory=self.memory)

    def _pooled(self, latents: range | Tensor) -> Tables:
        assert self._codes is not None
        device = device_of(self.sae)
        out: Tables = {p: torch.empty(len(self.acts), len(latents), device=device) for p in self.poolings}
        for texts, owner, codes in self._codes:
            codes = restrict_to(codes, latents, self.sae.d_sae)
            for p in self.poolings:
                out[p][texts] = pool_sparse(codes, owner, texts.stop - texts.start, len(latents), p)
        return out


def _codes_of_all_tokens(sae: SAE, acts: Acts, room: int) -> list[tuple[slice, Tensor, SparseCodes]] | None:
    """Sparse codes of all tokens, by chunk of texts; None where the SAE has none or they exceed `room` bytes."""
    device = device_of(sae)
    first = sparse_codes(sae, acts.x[:1].to(device, torch.float32))
    if first is None or acts.tokens * (first.values.shape[1] * 12 + 8) > room:
        return None

    def collect(rows: int) -> list[tuple[slice, Tensor, SparseCodes]] | None:
        chunks = []
        for texts, x, owner in acts.chunks(rows, str(device)):
            parts: list[SparseCodes] = []
            for part in x.split(rows):
                codes = sparse_codes(sae, part)
                if codes is None:
                    return None
                parts.append(codes)
            chunks.append((texts, owner, SparseCodes(*(torch.cat(t) for t in zip(*parts, strict=True)))))
        return chunks

    return with_backoff(collect, chunk_size(sae.d_sae, device, room))
