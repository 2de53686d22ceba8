"""How well a dictionary recovers a world's features, on features that do not depend on its width, feature by feature.

The features are the quarter of the world's that fire most. Latents are chosen on the first half of the samples and
judged on the second, so that a wider dictionary gains nothing by choosing among more:
- mcc: |cos| of the feature's direction and the decoder row matched to it one to one (Hungarian method);
- ap: average precision of the code of one latent, the best of `CANDIDATES` with the largest standardised differences;
- feature_f1: F1 of "code is not 0" of the latent that has the best F1;
- f1: the same of the latent whose decoder row is matched to the feature.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from saebench_lite.saes.protocol import SAE, decoder_of, device_of
from saebench_lite.worlds.model import BLOCK, WorldModel
from saebench_lite.worlds.truth import cosines

SAMPLES = 16_384
CANDIDATES = 8
LEAST = 10
"Samples of each half in which a feature must fire to be judged."
CHUNK = 2048
"Rows encoded together."


def average_precision(scores: Tensor, positive: Tensor) -> Tensor:
    """Average precision [m] of the columns of scores [n, m] for labels positive [n, m] bool, equal scores together.

    Sum over distinct scores of precision times the gain in recall; needs a positive in each column.
    """
    values, order = scores.sort(0, descending=True)
    hits = positive.gather(0, order).double().cumsum(0)
    said = torch.arange(1, len(scores) + 1, device=scores.device, dtype=torch.float64)[:, None]
    last = torch.ones_like(values, dtype=torch.bool)
    last[:-1] = values[1:] != values[:-1]
    at_ends = torch.where(last, hits, 0.0)
    before = torch.cat([torch.zeros_like(hits[:1]), at_ends.cummax(0).values[:-1]])
    return torch.where(last, (hits - before) * hits / said, 0.0).sum(0) / hits[-1]


def standardised_difference(codes: Tensor, fires: Tensor) -> Tensor:
    """(mean where a feature fires - mean elsewhere) / standard deviation [m, F] of codes [n, m], fires [n, F] bool."""
    x, y = codes.double(), fires.double()
    inside, outside = x.T @ y / y.sum(0), x.T @ (1 - y) / (1 - y).sum(0)
    return (inside - outside) / x.std(0).clamp(min=1e-12)[:, None]


def firing_f1(codes: Tensor, fires: Tensor) -> Tensor:
    """F1 [m, F] of "code is not 0" for fires [n, F] bool, codes [n, m]; 0 where neither happens."""
    said, true = (codes != 0).float(), fires.float()
    return 2 * (said.T @ true) / (said.sum(0)[:, None] + true.sum(0)).clamp(min=1)


@torch.no_grad()
def recovery(sae: SAE, lm: WorldModel, samples: int = SAMPLES) -> dict[str, np.ndarray]:
    """Values of each measure [features], the same features for every SAE of a world."""
    blocks = range(max(2, samples // (BLOCK * lm.tokens)))
    x = torch.cat([lm.activations(block) for block in blocks]).to(device_of(sae))
    reach = lm.by_frequency[: lm.world.spec.features // 4]
    fires = torch.cat([lm.features(block)[:, reach] > 0 for block in blocks]).to(x.device)
    half = len(x) // 2
    often = (fires[:half].sum(0) >= LEAST) & (fires[half:].sum(0) >= LEAST)
    fires, reach = fires[:, often], reach.to(x.device)[often]
    codes = torch.cat([sae.encode(part) for part in x.split(CHUNK)])
    chosen, judged = (codes[:half], fires[:half]), (codes[half:], fires[half:])
    features = torch.arange(len(reach), device=x.device)
    f1 = firing_f1(*judged)
    found = {"ap": _best_precision(chosen, judged), "feature_f1": f1[firing_f1(*chosen).argmax(0), features]}
    decoder = decoder_of(sae)
    if decoder is not None:
        cos = cosines(decoder.float(), lm.world.directions.to(x.device)[reach])
        latent, feature = _matched(cos)
        for name, table in (("mcc", cos), ("f1", f1)):
            found[name] = torch.zeros_like(found["feature_f1"])
            found[name][feature] = table[latent, feature]
    return {name: values.double().cpu().numpy() for name, values in found.items()}


def _matched(cos: Tensor) -> tuple[Tensor, Tensor]:
    """Latents and features of the one-to-one matching of largest sum. cos [h, F]"""
    from scipy.optimize import linear_sum_assignment

    pairs = linear_sum_assignment(cos.double().cpu().numpy(), maximize=True)
    return tuple(torch.as_tensor(side, device=cos.device) for side in pairs)  # type: ignore[return-value]  # two sides


def _best_precision(chosen: tuple[Tensor, Tensor], judged: tuple[Tensor, Tensor]) -> Tensor:
    """Average precision [F] on the judged half of the latent that is best on the other."""
    codes, fires = chosen
    candidates = standardised_difference(codes, fires).topk(min(CANDIDATES, codes.shape[1]), dim=0).indices
    table = torch.stack([average_precision(codes[:, row], fires) for row in candidates])
    best = candidates.gather(0, table.argmax(0, keepdim=True))[0]
    return average_precision(judged[0][:, best], judged[1])
