"""k-sparse probes for many training sets at once: choose latents by difference of means, fit, judge.

Codes are pooled once per SAE and corpus. Nothing of size texts x d_sae beyond the memory budget is held: latents are
ranked block by block, then only the chosen ones are read.
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
from saebench_lite.probes.logistic import fit_logistic_validated, scores
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
        self._kept: tuple[Tensor, Tensor] | None = None

    def latents(self, sets: Sequence[tuple[Tensor, Tensor]], k: int, selection: str) -> Tensor:
        """The k latents (all, if fewer) with the largest difference of class means in each training set, best first.

        sets: (texts [n], labels [n] bool). Returns [sets, k].
        """
        best: tuple[Tensor, Tensor] | None = None
        for block, tables in self.pooled.blocks():
            table = tables[self.pooling]
            found = [
                differences(table, some, selection).topk(min(k, len(block)))
                for some in (sets[low : low + TOGETHER] for low in range(0, len(sets), TOGETHER))
            ]
            new = torch.cat([f.values for f in found]), torch.cat([f.indices for f in found]) + block.start
            best = new if best is None else _merge(best, new, k)
        assert best is not None
        if 4 * len(self.acts) * len(best[1].unique()) <= self.memory:
            self._kept = self._read(best[1])
        return best[1]

    def margins(self, problems: Sequence[tuple[Tensor, Tensor, Tensor]], chosen: Tensor) -> list[Tensor]:
        """Margins on judged texts [m] of a validated logistic regression on each problem's latents.

        problems: (training texts [n], labels [n] bool, judged texts [m]); chosen [problems, k]. Training sets of one
        size are fitted side by side.
        """
        order = sorted(range(len(problems)), key=lambda i: len(problems[i][0]))
        out: dict[int, Tensor] = {}
        for n, members in groupby(order, key=lambda i: len(problems[i][0])):
            for batch in self._batches(list(members), n, chosen):
                ids, table = self._kept or self._read(chosen[batch])
                place = torch.searchsorted(ids, chosen[batch])
                x = torch.stack([_part(table, problems[i][0], p) for i, p in zip(batch, place, strict=True)])
                y = torch.stack([problems[i][1] for i in batch]).to(self.device)
                fitted = fit_logistic_validated(x, y, torch.ones_like(y))
                for b, i in enumerate(batch):
                    mine = Direction(fitted.weight[b : b + 1], fitted.bias[b : b + 1])
                    out[i] = scores(mine, _part(table, problems[i][2], place[b]))[0]
        return [out[i] for i in range(len(problems))]

    def _batches(self, members: list[int], n: int, chosen: Tensor) -> Iterator[list[int]]:
        """Runs of problems whose rows, and whose latents' codes of all texts, fit in memory."""
        k = chosen.shape[1]
        limit = BATCH // (n * k)
        if self._kept is None:
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


def differences(table: Tensor, sets: Sequence[tuple[Tensor, Tensor]], selection: str) -> Tensor:
    """|mean over positives - mean over negatives| of every latent in every training set: [sets, m].

    table [texts, m]; sets: (texts [n], labels [n] bool). `selection` "normalised" divides by the latent's mean absolute
    value over the set's non-zero entries, "raw" does not.
    """
    texts = torch.cat([rows for rows, _ in sets]).unique()
    part = table[texts.to(table.device)]
    weight, member = torch.zeros(2, len(sets), len(texts), dtype=table.dtype)
    for i, (rows, labels) in enumerate(sets):
        place = torch.searchsorted(texts, rows)
        weight[i, place] = torch.where(labels, 1 / labels.sum(), -1 / (~labels).sum()).to(table.dtype)
        member[i, place] = 1.0
    weight, member = weight.to(table.device), member.to(table.device)
    difference = (weight @ part).abs()
    if selection == "raw":
        return difference
    magnitude = (member @ part.abs()) / (member @ (part != 0).to(part.dtype)).clamp(min=1)
    return torch.where(magnitude > 0, difference / magnitude.clamp(min=1e-30), 0.0)


def _merge(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], k: int) -> tuple[Tensor, Tensor]:
    """The k best of two lists of (scores, latents) [sets, .], the earlier first where they tie."""
    value, latent = (torch.cat(pair, 1) for pair in zip(a, b, strict=True))
    order = value.argsort(dim=1, descending=True, stable=True)[:, :k]
    return value.gather(1, order), latent.gather(1, order)
