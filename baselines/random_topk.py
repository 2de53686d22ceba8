"""Random SAE: random directions with a top-k rule. The first control: nothing learned, the form of an SAE kept.

Random SAEs come close to trained ones on several published metrics (Korznikov et al., arXiv:2602.14111), so a score
means little until it stands clear of this row. Encoder and decoder are the same random unit vectors, eight for each
dimension, 32 active; the mean activation and one scale are fitted, which gives the control its best reconstruction.
"""

import torch

from saebench_lite.api.baseline import Baseline
from saebench_lite.api.context import EvalContext
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.protocol import reconstruct
from saebench_lite.stats.seeds import derive_seed

EXPANSION = 8
ACTIVE = 32


def make(ctx: EvalContext, seed: int) -> AffineSAE:
    """d_sae = 8 d random directions, the 32 largest (positive) projections of x - mean active."""
    x = ctx.sample()
    mean = x.mean(0)
    generator = torch.Generator().manual_seed(derive_seed("random_topk", seed))
    directions = torch.randn(EXPANSION * ctx.d_in, ctx.d_in, generator=generator)
    directions /= directions.norm(dim=1, keepdim=True)
    parts = {"W_enc": directions.T, "b_dec": mean, "activation": "topk", "k": ACTIVE}
    unscaled = AffineSAE(W_dec=directions, **parts)
    guess = reconstruct(unscaled, x) - mean
    scale = ((x - mean) * guess).sum() / guess.square().sum()
    return AffineSAE(W_dec=scale * directions, **parts, meta={"architecture": "random topk"})


BASELINE = Baseline(
    name="random_topk", description="random directions with a top-k rule", kind="control", make=make, random=True
)
