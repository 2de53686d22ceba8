"""A small world whose features are known: activations are sums of planted directions, texts are labelled by them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from saebench_lite.activations.acts import Acts
from saebench_lite.activations.pooled_codes import Pooled
from saebench_lite.api.probe_types import ProbeFit
from saebench_lite.api.subject import ProbeSubject, SAESubject, Subject
from saebench_lite.data.types import Corpus, Data, Labelled
from saebench_lite.saes.affine import AffineSAE

D, FEATURES, TEXTS = 16, 12, 600


def world(seed: int = 0, texts: int = TEXTS) -> tuple[Any, AffineSAE, torch.Tensor]:
    """(ctx, oracle SAE, text features [texts, FEATURES] bool). Text t holds feature j in a third of the texts."""
    g = torch.Generator().manual_seed(seed)
    directions = torch.linalg.qr(torch.randn(D, D, generator=g)).Q[:FEATURES]
    holds = torch.rand(texts, FEATURES, generator=g) < 0.33
    lengths = torch.randint(1, 6, (texts,), generator=g)
    owner = torch.repeat_interleave(torch.arange(texts), lengths)
    size = 1 + torch.rand(len(owner), FEATURES, generator=g)
    f = holds[owner] * size
    x = f @ directions + 0.5 * directions.sum(0)  # a mean away from zero
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
    corpus = Corpus("planted", tuple(f"text {i}" for i in range(texts)))
    rows = np.arange(texts)
    part = np.where(rows < texts // 2, "train", "test")
    labelled = tuple(Labelled(f"feature {j}", corpus, rows, holds[:, j].numpy(), part) for j in range(4))
    data = Data("planted", datasets=labelled, concepts=labelled, texts=(corpus,))
    acts = Acts(x, offsets)
    ctx = SimpleNamespace(
        data=data,
        d_in=D,
        device="cpu",
        memory=1 << 30,
        acts=lambda corpus, tokens="all": acts,
        hook="planted",
        note=lambda *sentences: None,
    )
    ctx.pooled = lambda sae, corpus, poolings, tokens="all": Pooled(sae, acts, poolings, ctx.memory)
    oracle = AffineSAE(W_enc=directions.T, W_dec=directions, b_dec=0.5 * directions.sum(0), activation="relu")
    return ctx, oracle, holds


def subject(sae: AffineSAE | None = None, probe: ProbeFit | None = None) -> Subject:
    """The subject of an SAE, or of a probe."""
    if probe is not None:
        return ProbeSubject(name="s", kind="sae", fingerprint="f", probe=probe)
    assert sae is not None
    return SAESubject(name="s", kind="sae", fingerprint="f", sae=sae)


def permuted(sae: AffineSAE) -> AffineSAE:
    """The same encoder with the decoder's rows in another order."""
    tensors = dict(sae.tensors)
    tensors["W_dec"] = tensors["W_dec"].roll(1, 0)
    return AffineSAE(**tensors, **sae.settings())


def random_sae(seed: int = 1) -> AffineSAE:
    g = torch.Generator().manual_seed(seed)
    directions = torch.randn(FEATURES, D, generator=g)
    directions /= directions.norm(dim=1, keepdim=True)
    return AffineSAE(W_enc=directions.T, W_dec=directions)


def values(
    task: Any, who: Subject, ctx: Any, config: Any = None, seeds: tuple[int, ...] = (42, 43)
) -> dict[str, float]:
    """Every metric's figure."""
    from saebench_lite.runs.evaluate import summarise

    cfg = config or task.config()
    scores = task.evaluate(who, ctx, task.prepare(ctx, cfg, seeds), cfg, seeds)
    return {name: entry.value for name, entry in summarise(scores, task.card)[0].items()}
