"""Frozen encoder: a BatchTopK SAE whose encoder directions are random and never trained.

Threshold, biases and decoder are trained, so latents read random projections and only their meaning is learned
(Korznikov et al., arXiv:2602.14111).
"""

from saebench_lite.bench import Bench
from saebench_lite.recipes.controls import train_control
from saebench_lite.sae import SAE
from saebench_lite.task import Baseline


def make(bench: Bench, seed: int) -> SAE:
    """d_sae = 8 d latents, 32 active, trained on a sample of the site's activations."""
    return train_control(bench, seed, "encoder")


BASELINE = Baseline(
    name="frozen_encoder",
    claim="a decoder trained for random encoder directions",
    kind="control",
    make=make,
    default=False,
)
"Costs minutes of training, so only on request."
