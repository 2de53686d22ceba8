"""How well a dictionary recovers a world's features, on features that do not depend on its width, feature by feature.

The features are the quarter of the world's that fire most. Latents are chosen on the first half of the samples and
judged on the second, so that a wider dictionary gains nothing by choosing among more:
- mcc: |cos| of the feature's direction and the decoder row matched to it one to one (Hungarian method);
- ap: average precision of the code of one latent, the best of those with the largest standardised differences;
- feature_f1: F1 of "code is not 0" of the latent that has the best F1;
- f1: the same of the latent whose decoder row is matched to the feature.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from saebench_lite.probes.best_latents import Samples, best_latent_scores
from saebench_lite.saes.protocol import SAE, decoder_of, device_of
from saebench_lite.worlds.model import BLOCK, WorldModel
from saebench_lite.worlds.truth import cosines, matched

SAMPLES = 16_384
LEAST = 10
"Samples of each half in which a feature must fire to be judged."
CHUNK = 2048
"Rows encoded together."


def firing_f1(codes: Tensor, fires: Tensor) -> Tensor:
    """F1 [m, F] of "code is not 0" for fires [n, F] bool, codes [n, m]; 0 where neither happens."""
    fired, true = (codes != 0).float(), fires.float()
    return 2 * (fired.T @ true) / (fired.sum(0)[:, None] + true.sum(0)).clamp(min=1)


@torch.no_grad()
def recovery(sae: SAE, lm: WorldModel, samples: int = SAMPLES) -> dict[str, np.ndarray]:
    """Values of each measure [features], the same features for every SAE of a world."""
    blocks = range(max(2, samples // (BLOCK * lm.tokens)))
    x = torch.cat([lm.activations(block) for block in blocks]).to(device_of(sae))
    reach = lm.by_frequency[: lm.world.spec.features // 4]
    fires = torch.cat([lm.features(block)[:, reach] > 0 for block in blocks]).to(x.device)
    half = len(x) // 2
    fired = torch.stack([part.sum(0) for part in (fires[:half], fires[half:])])
    often = (fired >= LEAST).all(0) & (fired < half).all(0)
    fires, reach = fires[:, often], reach.to(x.device)[often]
    codes = torch.cat([sae.encode(part) for part in x.split(CHUNK)])
    chosen, judged = Samples(codes[:half], fires[:half]), Samples(codes[half:], fires[half:])
    features = torch.arange(len(reach), device=x.device)
    f1 = firing_f1(*judged)
    measures = {
        "ap": best_latent_scores(chosen, judged).precision,
        "feature_f1": f1[firing_f1(*chosen).argmax(0), features],
    }
    decoder = decoder_of(sae)
    if decoder is not None:
        cos = cosines(decoder.float(), lm.world.directions.to(x.device)[reach])
        latent, feature = matched(cos)
        for name, table in (("mcc", cos), ("f1", f1)):
            measures[name] = torch.zeros_like(measures["feature_f1"])
            measures[name][feature] = table[latent, feature]
    return {name: values.double().cpu().numpy() for name, values in measures.items()}
