"""Difference in means: the line from the negatives' mean activation to the positives'.

What a practitioner with labels does first. On AxBench's concept detection it beats every SAE method
(Wu et al., arXiv:2501.17148, table 1).
"""

from saebench_lite.api.baseline import Baseline
from saebench_lite.probes.logistic import diff_in_means

BASELINE = Baseline(
    name="diff_in_means",
    description="the direction between the class means of the model's own activations",
    kind="baseline",
    probe=diff_in_means,
)
