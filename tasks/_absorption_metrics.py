"""What absorption measures on each form of the words: after worked examples, and at the end of a sentence."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from saebench_lite.records.metric import Metric
from saebench_lite.tasks._first_letters import Form

SUFFIX: dict[Form, str] = {"examples": "", "sentences": "_sentences"}
"How the names of metrics end, by where the words are read."

_hierarchy, _f1 = (
    partial(Metric, construct="hierarchy", better="lower"),
    partial(Metric, construct="recovery", better="higher", lower_bound=0.0, upper_bound=1.0),
)
_share = partial(_hierarchy, lower_bound=0.0, upper_bound=1.0)

AFTER_EXAMPLES = (
    _share(name="absorption_fraction", meaning="share of the general feature that absorbers carry"),
    _share(name="full_absorption", meaning="share of these words carried by one latent that is not its own"),
    _hierarchy(name="splits", meaning="main latents per parent", unit="latents", lower_bound=1.0),
    _f1(name="f1_k1", meaning="F1 of the best single latent's probe"),
    _f1(name="f1_family", meaning="F1 of the probe on all main latents together"),
    _share(
        name="missed_family",
        meaning="share of the words the model's own probe finds that the probe on all main latents misses",
    ),
    Metric(
        name="explained_variance_inputs",
        meaning="explained variance of the test words' activations: how far they are from what the SAE learned",
        better="neither",
        construct="fidelity",
        upper_bound=1.0,
    ),
)

IN_SENTENCES = tuple(
    replace(metric, name=metric.name + SUFFIX["sentences"], meaning=f"{metric.meaning}; words at the end of a sentence")
    for metric in AFTER_EXAMPLES
)
