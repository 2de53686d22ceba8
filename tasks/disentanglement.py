"""SCR and TPP of SAEBench, for comparison with published figures.

A probe reads the mean activation of a text's tokens. A latent's effect on a class is the difference of its mean code
between the class and the rest, times w . d_j (w: the probe's weight, d_j: the latent's decoder row); the n latents of
the largest effects are ablated in all tokens of the test texts.
tpp_n: classes i, k of the data sets. Accuracy that probe i loses without the latents of class i (tpp_intended), less
the mean loss of the other probes on their own texts (tpp_unintended). Effects are counted where the latent fires more
in the class.
scr_n: two attributes of the same texts. A probe is trained where both go together (both present against both absent);
the latents of the first attribute's probe, by the size of their effect, are ablated, and the share is taken of the way
from the biased probe's accuracy on the second attribute to that of an unbiased probe. Of the two directions that with
the lower accuracy of the biased probe counts. Pairs of attributes: data sets of one corpus that hold all four
combinations; else the project's own sentences (those of `minimal_pairs`), whose attributes are independent.
tpp_noise, scr_noise: standard deviation over seeds of the figure for n = 10. A difference below twice that is noise.
What the audit of "Are Sparse Autoencoder Benchmarks Reliable?" (arXiv:2605.18229) found on known truth: SCR has no rank
correlation with it for few latents and -.64 for 500, TPP -.03 for 10; TPP moves by 16 to 39 % under a new seed and
falls as SAEs are trained. On three worlds with planted causes (`saebench-lite audit --causes`, world small,
secret-3101, secret-3102) tpp_10 puts the oracle over trained, soft-frozen and random dictionaries, and scr_10 does not.
These are coarse steps, and neither measures whether concepts are disentangled; look at the random dictionary's row.

Source: Karvonen et al., arXiv:2411.18895; SAEBench, arXiv:2503.09532. Where we differ, and why:
- probes are logistic regressions with a validated penalty, not 20 epochs of SGD with an L1 term and test-set selection;
- only positive effects are ablated in TPP: SAEBench fills up with latents of effect 0;
- accuracies before and after are of the same texts; SAEBench draws other negatives for each;
- codes of special tokens and of padding are not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext
from saebench_lite.api.settings import Count, Settings
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Reading, Scores, Task
from saebench_lite.errors import NotApplicable
from saebench_lite.metrics.probe_ablation import scr, tpp
from saebench_lite.records.metric import Metric
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.protocol import unwrapped
from saebench_lite.tasks._disentanglement_probes import Ablations, Pair, Probes, biased_pairs, class_probes, own_tokens

NUMBERS = (2, 5, 10, 20, 50, 100, 500)
"Latents ablated, as in SAEBench."
SHOWN = 10
"Latents of the figures whose noise is given."

_effect = partial(Metric, construct="causal_effect", lower_bound=-2.0, upper_bound=2.0)
_scr = partial(Metric, construct="causal_effect", better="higher")
_noise = partial(Metric, construct="causal_effect", better="neither", lower_bound=0.0)

CARD = Card(
    name="disentanglement",
    version=1,
    description="SCR and TPP as SAEBench has them, for comparison with published figures",
    source="arXiv:2411.18895; SAEBench, arXiv:2503.09532",
    headline=("scr_10", "tpp_10"),
    metrics=(
        *(_scr(name=f"scr_{n}", meaning=f"spurious correlation removed by {n} latents") for n in NUMBERS),
        *(_effect(name=f"tpp_{n}", meaning=f"targeted perturbation by {n} latents", better="higher") for n in NUMBERS),
        _effect(name="tpp_intended", meaning="accuracy lost by the class's own probe, 10 latents", better="higher"),
        _effect(name="tpp_unintended", meaning="accuracy lost by the other probes, 10 latents", better="lower"),
        _noise(name="scr_noise", meaning="standard deviation of scr_10 over seeds"),
        _noise(name="tpp_noise", meaning="standard deviation of tpp_10 over seeds"),
    ),
    default=False,
    on_request=("scr_noise", "tpp_noise"),
)


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    classes: Count = 5
    "Data sets whose probes are perturbed, at most: the first ones."
    pairs: Count = 4
    "Pairs of attributes of SCR, at most (SAEBench: 4 of each of two corpora)."
    max_train: Count = 512
    "Training texts of a probe, at most (SAEBench: 4,000)."
    max_test: Count = 256
    "Test texts of a probe, at most (SAEBench: 1,000)."
    own_texts: Count = 768
    "The project's own sentences, where the data have no pair of attributes."


@dataclass(frozen=True)
class Shared:
    """Probes of a seed."""

    classes: Probes | None
    pairs: list[Pair]


def prepare(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> dict[int, Shared]:
    """Probes on the model's activations."""
    out = {}
    for seed in seeds:
        classes = class_probes(ctx, cfg.classes, cfg.max_train, cfg.max_test, seed)
        pairs = biased_pairs(ctx, cfg.pairs, (cfg.max_train, cfg.max_test, cfg.own_texts), seed)
        if classes is None and not pairs:
            raise NotApplicable(f"data source {ctx.data.name!r} has neither two data sets nor a pair of attributes")
        out[seed] = Shared(classes, pairs)
    return out


@torch.no_grad()
def evaluate(
    subject: Subject, ctx: EvalContext, shared: dict[int, Shared], cfg: Config, seeds: Sequence[int]
) -> Scores:
    """SCR by pair of attributes and TPP by class.

    Args:
        subject: an SAE with a linear decoder.
        ctx: the site.
        shared: probes of each seed, from `prepare`.
        cfg: settings of the task.
        seeds: of the repetitions.
    """
    sae, decoder, out = subject.require_autoencoder(), subject.require_decoder(), Scores()
    bare = unwrapped(sae)
    if isinstance(bare, AffineSAE) and bare.normalize != "none":
        raise NotApplicable(f"{subject.name} normalises its inputs, so that its latents add nothing fixed to a probe")
    figures: dict[str, dict[int, list[float]]] = {"scr": {}, "tpp": {}}
    for seed, each in shared.items():
        if each.classes is not None:
            figures["tpp"][seed] = _add_tpp(out, Ablations(sae, decoder, each.classes, ctx, max(NUMBERS)), seed)
        for pair in each.pairs:
            value = _add_scr(out, pair, Ablations(sae, decoder, pair.probes, ctx, max(NUMBERS)), seed)
            figures["scr"].setdefault(seed, []).append(value)
    for name, by_seed in figures.items():
        if len(by_seed) > 1:
            means = [float(np.nanmean(values)) for values in by_seed.values() if not np.isnan(values).all()]
            out.add(f"{name}_noise", float(np.std(means, ddof=1)) if len(means) > 1 else np.nan, unit="all")
    return out


def _add_tpp(out: Scores, probes: Ablations, seed: int) -> list[float]:
    """Adds TPP of each class; returns those for SHOWN latents."""
    shown: list[float] = []
    for n in NUMBERS:
        drop = torch.tensor(
            [
                [probes.accuracy(k, k) - probes.accuracy(k, k, probes.latents(i, n)) for k in range(len(probes.names))]
                for i in range(len(probes.names))
            ],
            dtype=torch.float64,
        )
        total, intended, unintended = tpp(drop)
        for i, name in enumerate(probes.names):
            out.add(f"tpp_{n}", total[i].item(), unit=name, seed=seed)
            if n == SHOWN:
                out.add("tpp_intended", intended[i].item(), unit=name, seed=seed)
                out.add("tpp_unintended", unintended[i].item(), unit=name, seed=seed)
                shown.append(total[i].item())
    return shown


def _add_scr(out: Scores, pair: Pair, probes: Ablations, seed: int) -> float:
    """Adds SCR of a pair of attributes; returns that for SHOWN latents, NaN where both directions are as biased."""
    first, second, biased = range(3)
    clean = [probes.accuracy(biased, k) for k in (first, second)]
    shown = float("nan")
    for n in NUMBERS:
        value = float("nan")
        if clean[0] != clean[1]:
            judged, removed = (first, second) if clean[0] < clean[1] else (second, first)
            latents = probes.latents(removed, n, signed=False)
            ablated = probes.accuracy(biased, judged, latents)
            value = scr(ablated, clean[judged], probes.accuracy(judged, judged))
        out.add(f"scr_{n}", value, unit=pair.name, seed=seed)
        shown = value if n == SHOWN else shown
    return shown


def reads(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> Reading:
    """The project's own sentences, where the data have no pair of attributes."""
    return Reading(own_tokens(ctx, cfg.own_texts, seeds))


TASK = Task(CARD, Config, prepare, evaluate, reads=reads)
