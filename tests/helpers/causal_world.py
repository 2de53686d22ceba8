"""A world whose predictions depend on its features alone, and dictionaries that know them more or less well."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from saebench_lite.api.context import EvalContext
from saebench_lite.data.types import Corpus, Data, Labelled
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.worlds.model import HOOK, WorldModel, text
from saebench_lite.worlds.spec import WorldSpec
from saebench_lite.worlds.world import World

SPEC = WorldSpec(features=12, d=48, p_max=0.25, p_min=0.1, rank=0, bias_norm=0.0, noise=0.05, orthogonalise=50)
TEXTS = 256


class CausalWorld(WorldModel):
    """`WorldModel` whose readout sees nothing outside the span of the true directions."""

    def __init__(self, spec: WorldSpec = SPEC) -> None:
        super().__init__(World(spec), "causal")
        q = torch.linalg.qr(self.world.directions.T).Q
        self._readout = 0.5 * q @ (q.T @ self._readout)


def causal_context() -> EvalContext:
    """The site, with the most frequent features as labels: is one on in a text?"""
    model = CausalWorld()
    corpus = Corpus("causal", tuple(map(text, range(TEXTS))))
    on = (model.features(0).view(TEXTS, SPEC.tokens, -1) > 0).any(1).numpy()
    labels = tuple(Labelled(f"feature {j}", corpus, np.arange(TEXTS), on[:, j]) for j in range(6))
    return EvalContext(model, HOOK, Data("causal", datasets=labels, texts=(corpus,)))


def dictionary(cosine: float, seed: int = 0) -> AffineSAE:
    """Rows at a cosine from the true directions: 1 the oracle's, 0 random ones."""
    true = World(SPEC).directions
    noise = torch.randn(true.shape, generator=torch.Generator().manual_seed(seed))
    rows = mixed(true, noise, cosine)
    return AffineSAE(W_enc=rows.T, W_dec=rows, b_enc=torch.full((len(rows),), -0.5))


def mixed(true: Tensor, noise: Tensor, cosine: float) -> Tensor:
    """Unit rows at a cosine from those of `true`, the rest along `noise`. [m, d]"""
    noise = noise - (noise * true).sum(1, keepdim=True) * true
    return cosine * true + (1 - cosine**2) ** 0.5 * noise / noise.norm(dim=1, keepdim=True)
