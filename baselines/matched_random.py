"""Matched random SAE: random directions of the same width, with one threshold that gives an SAE on trial its L0.

Random SAEs of equal sparsity come close to trained ones on several metrics (Korznikov et al., arXiv:2602.14111; Chanin,
arXiv:2605.18229): what an SAE scores above this row is what its training added.
"""

import torch

from saebench_lite.activations.pooling import chunk_size
from saebench_lite.api.baseline import Baseline
from saebench_lite.api.context import EvalContext
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.protocol import SAE, device_of
from saebench_lite.stats.seeds import derive_seed

SAMPLED = 1 << 16
"Of many values, to tell about where a quantile is."


@torch.no_grad()
def derive(sae: SAE, ctx: EvalContext, seed: int) -> AffineSAE:
    """d_sae random unit vectors, encoder and scaled decoder, firing above the threshold that matches the SAE's L0."""
    x = ctx.sample().to(device_of(sae))
    parts = x.split(chunk_size(sae.d_sae, x.device, ctx.memory))
    l0 = sum((sae.encode(p) != 0).sum().item() for p in parts) / len(x)
    generator = torch.Generator().manual_seed(derive_seed("matched_random", seed))
    directions = torch.randn(sae.d_sae, sae.d_in, generator=generator).to(x.device)
    directions /= directions.norm(dim=1, keepdim=True)
    mean = x.mean(0)
    rows = x[:: max(1, len(x) * sae.d_sae // (1 << 26))] - mean
    scores = rows @ directions.T
    active = min(scores.numel() - 1, max(1, round(l0 * len(rows))))
    threshold = largest(scores.flatten(), active + 1).clamp(min=0.0)
    guess = torch.where(scores > threshold, scores, 0.0) @ directions
    scale = (rows * guess).sum() / guess.square().sum().clamp(min=1e-12)
    return AffineSAE(
        W_enc=directions.T,
        W_dec=scale * directions,
        b_dec=mean,
        activation="jumprelu",
        threshold=threshold.expand(sae.d_sae),
        meta={"architecture": "random jumprelu", "matched_l0": l0},
    )


def largest(values: torch.Tensor, k: int) -> torch.Tensor:
    """The k-th largest of values [n]. Those below what a sample of them says are left out of the search."""
    few = values[:: max(1, len(values) // SAMPLED)]
    about = few.topk(min(len(few), 20 + int(1.2 * k * len(few) / len(values)))).values.min()
    above = values[values >= about]
    return (above if len(above) >= k else values).topk(k, sorted=False).values.min()


BASELINE = Baseline(
    name="matched_random",
    description="random directions at the L0 of an SAE on trial",
    kind="control",
    derive=derive,
    random=True,
)
