"""Reconstruction and the loss of a splice."""

from __future__ import annotations

import numpy as np

from tests.reference.independent.draws import evenly
from tests.reference.independent.network import Dictionary, Network


def reconstruction(sae: Dictionary, x: np.ndarray) -> dict[str, float]:
    """Figures of the task `reconstruction` on activations x [n, d] of all texts."""
    f = sae.encode(x)
    hat = sae.decode(f)
    rest, size, back = x - hat, np.linalg.norm(x, axis=1), np.linalg.norm(hat, axis=1)
    density = (f != 0).mean(0)
    enc, dec = (w / np.linalg.norm(w, axis=1, keepdims=True) for w in (sae.W_enc.T, sae.W_dec))
    among = dec @ dec.T
    np.fill_diagonal(among, -np.inf)
    return {
        "explained_variance": 1 - (rest**2).sum() / ((x - x.mean(0)) ** 2).sum(),
        "mse": (rest**2).mean(),
        "cosine": ((x * hat).sum(1) / (size * back)).mean(),
        "l2_ratio": (back / size).mean(),
        "relative_bias": (hat**2).sum() / (x * hat).sum(),
        "l0": (f != 0).sum(1).mean(),
        "l1": np.abs(f).sum(1).mean(),
        "dead_fraction": (density == 0).mean(),
        "dense_fraction": (density > 0.1).mean(),
        "alive_fraction": (density > 0).mean(),
        "frequent_fraction": (density > 0.01).mean(),
        "encoder_decoder_cosine": (enc * dec).sum(1).mean(),
        "nearest_decoder_cosine": among.max(1).mean(),
    }


def ce_delta(net: Network, sae: Dictionary, texts: list[str], budget: int, blocks: int = 32) -> dict[str, float]:
    """Figures of the task `ce_delta` on evenly spaced texts of at most `budget` tokens."""
    rows = [ids for ids in map(net.ids, texts) if len(ids) > 2]
    rows = [rows[i] for i in evenly(np.array([len(ids) for ids in rows]), budget)]
    acts = [net.activations(ids) for ids in rows]
    read = [net.read(ids, x) for ids, x in zip(rows, acts, strict=True)]
    mean = np.concatenate([x[r] for x, r in zip(acts, read, strict=True)]).mean(0)
    n = min(blocks, len(rows))
    sums = {name: np.zeros(n) for name in ("clean", "spliced", "zero", "mean", "kl", "tokens")}
    for i, (ids, x, r) in enumerate(zip(rows, acts, read, strict=True)):
        block, counted = i * n // len(rows), np.flatnonzero(r[:-1])
        following = np.array(ids)[counted + 1]
        clean = net.log_probabilities(ids)
        for name, values in (("spliced", sae.decode(sae.encode(x[r]))), ("zero", 0.0), ("mean", mean)):
            changed = x.copy()
            changed[r] = values
            other = net.log_probabilities(ids, changed)
            sums[name][block] -= other[counted, following].sum()
            if name == "spliced":
                sums["kl"][block] += (np.exp(clean[counted]) * (clean[counted] - other[counted])).sum()
        sums["clean"][block] -= clean[counted, following].sum()
        sums["tokens"][block] += len(counted)
    total = {name: values.sum() for name, values in sums.items()}
    out = {f"ce_{name}": total[name] / total["tokens"] for name in ("clean", "spliced", "zero", "mean")}
    out |= {"ce_delta": out["ce_spliced"] - out["ce_clean"], "kl": total["kl"] / total["tokens"]}
    for metric, name in (("loss_recovered", "zero"), ("loss_recovered_mean", "mean")):
        worse = sums[name] > sums["clean"]
        gap = (sums[name] - sums["clean"])[worse].sum()
        out[metric] = (sums[name] - sums["spliced"])[worse].sum() / gap
    return out
