"""Logistic regression on the model's own activations: the supervised ceiling of a linear readout.

L2 penalty chosen on a validation part of the training rows, standardised columns: the same fit that k-sparse probes
get. SAE latents rarely beat it (Kantamneni et al., arXiv:2502.16681).
"""

from saebench_lite.api.baseline import Baseline
from saebench_lite.probes.shared_rows import fit_each

BASELINE = Baseline(
    name="logistic",
    description="L2 logistic regression on the model's own activations",
    kind="baseline",
    probe=fit_each,
)
