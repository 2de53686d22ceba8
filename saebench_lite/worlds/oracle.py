"""The SAE that knows: codes are the true activations of the features that fire most, looked up by the activation."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from saebench_lite.files import digest
from saebench_lite.worlds.model import WorldModel


class OracleSAE:
    """d_sae true features of a world, for the samples of its first `blocks` blocks; other inputs have code 0.

    A perfect dictionary of its width, not a perfect reconstruction: features beyond the width are missing from it.
    """

    def __init__(self, model: WorldModel, d_sae: int, blocks: int) -> None:
        self.d_in, self.d_sae = model.width, d_sae
        self.features = model.by_frequency[:d_sae]
        "Indices of the true features that are its latents, most frequent first. [d_sae]"
        self._codes = torch.cat([model.features(block)[:, self.features] for block in range(blocks)])
        keys = torch.cat([_key(model.activations(block)) for block in range(blocks)])
        self._keys, self._row = keys.sort()
        self.decoder = model.world.directions[self.features]
        self._bias = model.world.bias
        self.meta = {"architecture": "oracle"}
        self._identity = digest(["oracle", model.fingerprint(), d_sae, blocks])

    def to(self, device: str | torch.device) -> OracleSAE:
        """Moves it (in place)."""
        for name in ("_codes", "_keys", "_row", "decoder", "_bias"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def fingerprint(self) -> str:
        """Identity of world and width."""
        return self._identity

    def knowing(self, x: Tensor, features: Tensor) -> OracleSAE:
        """The same SAE, which also knows the samples x [n, d_in] of true features [n, N], such as edited ones.

        The features may be a sparse tensor.
        """
        out = copy.copy(self)
        device = self._keys.device
        out._keys, order = torch.cat([self._keys, _key(x.to(device, torch.float32))]).sort()
        own = torch.arange(len(self._codes), len(self._codes) + len(x), device=device)
        out._row = torch.cat([self._row, own])[order]
        codes = features.cpu().index_select(1, self.features.cpu())
        out._codes = torch.cat([self._codes, (codes.to_dense() if codes.is_sparse else codes).to(device)])
        return out

    def encode(self, x: Tensor) -> Tensor:
        """Codes [n, d_sae] of x [n, d_in]."""
        key = _key(x.to(torch.float32))
        place = torch.searchsorted(self._keys, key).clamp(max=len(self._keys) - 1)
        known = self._keys[place] == key
        return self._codes[self._row[place]] * known[:, None]

    def decode(self, f: Tensor) -> Tensor:
        """Reconstruction [n, d_in]."""
        return f @ self.decoder + self._bias


def _key(x: Tensor) -> Tensor:
    """The bits of the first two coordinates as one integer: no two samples share them. x [n, d >= 2] float32"""
    # stacking copies: a view of one row of odd width cannot be read as integers of twice the size
    return torch.stack([x[:, 0], x[:, 1]], 1).view(torch.int64)[:, 0]
