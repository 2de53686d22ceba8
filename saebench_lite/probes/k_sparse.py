"""k-sparse probes for many training sets at once: choose latents by difference of means, fit, judge.

Codes are pooled once per SAE and corpus. Tables of size texts x d_sae stay within the memory budget: latents are ranked
block by block, then only the chosen ones are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor

from saebench_lite.activations.acts import Acts
from saebench_lite.activations.pooled_codes import Pooled
from saebench_lite.activations.pooling import Pooling
from saebench_lite.api.probe_types import Direction
from saebench_lite.probes.latent_selection import Ranked, Selection, differences_of_sets, merged, ranked
from saebench_lite.probes.logistic import scores
from saebench_lite.probes.validated import fit_logistic_validated
from saebench_lite.saes.protocol import SAE, device_of

BATCH = 1 << 22
"Numbers (rows x latents x problems) fitted in one batch."


TOGETHER = 256
"Training sets ranked in one product."


class KSparseProbes:
    """An SAE's pooled codes of one corpus, and probes on the latents chosen for each training set."""

    def __init__(self, sae: SAE, acts: Acts, pooling: Pooling, memory: int) -> None:
        self.acts, self.memory = acts, memory
        self.pooling: Pooling = pooling
        self.pooled = Pooled(sae, acts, (pooling,), memory)
        self.device = device_of(sae)
        self._chosen_codes: tuple[Tensor, Tensor] | None = None

    def latents(self, sets: Sequence[tuple[Tensor, Tensor]], k: int, selection: Selection) -> Tensor:
        """The k latents (all, if fewer) with the largest difference of class means in each training set, best first.

        sets: (texts [n], labels [n] bool). Returns [sets, k].
        """
        best: Ranked | None = None
        for block, tables in self.pooled.blocks():
            table = tables[self.pooling]
            top = [
                ranked(differences_of_sets(table, group, selection), block.start, k)
                for group in (sets[low : low + TOGETHER] for low in range(0, len(sets), TOGETHER))
            ]
            best = merged(best, Ranked(*(torch.cat(parts) for parts in zip(*top, strict=True))), k)
        assert best is not None
        if 4 * len(self.acts) * len(best.latent.unique()) <= self.memory:
            self._chosen_codes = self._read(best.latent)
        return best.latent

    def margins(self, problems: Sequence[tuple[Tensor, Tensor, Tensor]], chosen: Tensor) -> list[Tensor]:
        """Margins on judged texts [m] of a validated logistic regression on each problem's latents.

        problems: (training texts [n], labels [n] bool, judged texts [m]); chosen [problems, k]. Training sets of one
        size are fitted side by side.
        """
        order = sorted(range(len(problems)), key=lambda i: len(problems[i][0]))
        out: dict[int, Tensor] = {}
        for n, members in groupby(order, key=lambda i: len(problems[i][0])):
            for batch in self._batches(list(members), n, chosen):
                ids, table = self._chosen_codes or self._read(chosen[batch])
                place = torch.searchsorted(ids, chosen[batch])
                x = torch.stack([_part(table, problems[i][0], p) for i, p in zip(batch, place, strict=True)])
                y = torch.stack([problems[i][1] for i in batch]).to(self.device)
                fitted = fit_logistic_validated(x, y, torch.ones_like(y))
                for b, i in enumerate(batch):
                    probe = Direction(fitted.weight[b : b + 1], fitted.bias[b : b + 1])
                    out[i] = scores(probe, _part(table, problems[i][2], place[b]))[0]
        return [out[i] for i in range(len(problems))]

    def _batches(self, members: list[int], n: int, chosen: Tensor) -> Iterator[list[int]]:
        """Runs of problems whose rows, and whose latents' codes of all texts, fit in memory."""
        k = chosen.shape[1]
        limit = BATCH // (n * k)
        if self._chosen_codes is None:
            limit = min(limit, self.memory // (4 * len(self.acts) * k))
        size = max(1, limit)
        for low in range(0, len(members), size):
            yield members[low : low + size]

    def _read(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Latents, ascending [m], among them all that are asked for, and their pooled codes [texts, m]."""
        ids, tables = zip(*self.pooled.columns(latents.unique()), strict=True)
        return torch.cat(ids), torch.cat([t[self.pooling] for t in tables], 1)


def _part(table: Tensor, texts: Tensor, columns: Tensor) -> Tensor:
    """Some rows [n] and columns [k] of a table: [n, k]."""
    return table[texts.to(table.device)[:, None], columns]
