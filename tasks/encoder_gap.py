"""Encoder gap: is it the encoder or the dictionary that loses the activation?

With x the activation, f the code, w_i the decoder's rows of norm 1, b what the SAE writes where no latent fires, three
codes on the same dictionary: the SAE's own f; `refit`: non-negative least squares on the latents that f chose;
`fista`: the latents that the non-negative lasso min |x - b - f W|² / 2 + penalty sum f chooses, with the penalty at
which its mean L0 comes nearest to the SAE's, then refit likewise. Each has its explained variance
1 - sum |x - x_hat|² / sum |x - E x|².
magnitude_gap = EV(refit) - EV(own): what the encoder loses by the size of codes; choice_gap = EV(fista) - EV(refit):
what it loses by which latents it chooses, or gains where it is below 0; what is then missing to 1 is the dictionary's
at this L0. The lasso is no exhaustive search, so choice_gap is what a better encoder gains at least.
magnitude_ratio: sum of own codes over sum of refit codes, below 1 where codes are shrunken. On worlds also the mean F1
of the best latent of each of the d_sae most frequent features, of own codes (feature_f1) and of the lasso's
(feature_f1_fista).

Source: sparse coding against an encoder on one dictionary, as in arXiv:2603.28744; FISTA: Beck & Teboulle 2009. Where
we differ, and why: equal mean L0 by the penalty, and refitted sizes, so that neither sparsity nor the lasso's own
shrinkage counts as a gap; three codes, so that sizes and choices are told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from saebench_lite.activations.acts import to_device
from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext
from saebench_lite.api.settings import Count, Settings
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Scores, Task
from saebench_lite.errors import NotApplicable
from saebench_lite.metrics.latents import unit_rows
from saebench_lite.metrics.reconstruction import explained_variance
from saebench_lite.metrics.sparse_coding import fista, penalty_for
from saebench_lite.records.metric import Metric
from saebench_lite.saes.affine import AffineSAE, encoder_input_frame
from saebench_lite.saes.protocol import SAE, device_of, unwrapped
from saebench_lite.tasks._token_blocks import TokenBlocks, token_blocks
from saebench_lite.worlds import truth
from saebench_lite.worlds.model import WorldModel

_variance = partial(Metric, construct="fidelity", better="higher", upper_bound=1.0)
_gap = partial(Metric, construct="fidelity", better="neither")
_f1 = partial(Metric, construct="recovery", better="higher", lower_bound=0.0, upper_bound=1.0)

CARD = Card(
    name="encoder_gap",
    version=1,
    description="is it the encoder or the dictionary that loses the activation?",
    source="sparse coding on the SAE's decoder, arXiv:2603.28744; FISTA",
    headline=("magnitude_gap", "choice_gap"),
    metrics=(
        _variance(name="explained_variance", meaning="explained variance of the SAE's own codes"),
        _variance(name="explained_variance_refit", meaning="explained variance of least squares on the latents chosen"),
        _variance(name="explained_variance_fista", meaning="explained variance of codes inferred at the same mean L0"),
        _gap(name="magnitude_gap", meaning="explained variance that the sizes of codes lose"),
        _gap(name="choice_gap", meaning="explained variance that the choice of latents loses"),
        Metric(
            name="magnitude_ratio",
            meaning="sum of codes over sum of least-squares codes on the same latents",
            better="one",
            construct="fidelity",
            lower_bound=0.0,
        ),
        Metric(
            name="l0_fista",
            meaning="mean L0 of the inferred codes",
            better="neither",
            construct="sparsity",
            lower_bound=0.0,
        ),
        _f1(name="feature_f1", meaning="mean F1 of the latent that detects a feature best"),
        _f1(name="feature_f1_fista", meaning="the same of the inferred codes"),
    ),
    on_request=("feature_f1", "feature_f1_fista"),
    default=False,
    seeded=False,
)


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    max_tokens: Count = 1024
    "Real tokens used at most: texts are taken evenly spaced until there are as many."
    blocks: Count = 32
    "Groups of neighbouring texts, the units of the bootstrap."
    tuned_on: Count = 128
    "Tokens, evenly spaced, on which the penalty is chosen."
    steps: Count = 100
    "Iterations of FISTA."


@dataclass(frozen=True)
class Codes:
    """Three codes of the same tokens in units of unit rows. [t, m] each"""

    own: Tensor
    refit: Tensor
    fista: Tensor


def prepare(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> TokenBlocks:
    """The sample of activations."""
    return token_blocks(ctx, cfg.max_tokens, cfg.blocks)


@torch.no_grad()
def evaluate(subject: Subject, ctx: EvalContext, sample: TokenBlocks, cfg: Config, seeds: Sequence[int]) -> Scores:
    """The figures of one SAE.

    Args:
        subject: an SAE with non-negative codes that shows its decoder.
        ctx: the site.
        sample: activations, from `prepare`.
        cfg: settings of the task.
        seeds: of the repetitions.
    """
    sae, decoder, out = subject.require_autoencoder(), subject.require_decoder(), Scores()
    bias, rows = sae.decode(torch.zeros(1, sae.d_sae, device=decoder.device))[0].float(), unit_rows(decoder).float()
    x = _frame(sae, to_device(sample.acts.x, decoder.device)) - bias
    l0 = _l0(subject.name, sae, sample)
    chosen = torch.linspace(0, len(x) - 1, min(cfg.tuned_on, len(x))).round().long()
    penalty = penalty_for(x[chosen], rows, l0, cfg.steps)
    mean, sizes = x.double().mean(0), decoder.float().norm(dim=1)
    for unit, part in sample:
        part = to_device(part, decoder.device)
        centred = _frame(sae, part) - bias
        codes = infer(centred, sae.encode(part) * sizes, rows, penalty, cfg.steps)
        _add_fidelity(out, unit, centred, (centred.double() - mean).square().sum().item(), codes, rows)
    out.diagnostics = {"penalty": float(f"{penalty:.6g}"), "l0": float(f"{l0:.6g}"), "tokens": len(x)}
    if isinstance(ctx.lm, WorldModel):
        _add_recovery(out, sae, ctx.lm, rows, bias, penalty, cfg)
    return out


def _l0(name: str, sae: SAE, sample: TokenBlocks) -> float:
    """Mean L0 of the SAE called `name` on the sample; NotApplicable for negative codes and where nothing fires."""
    fired = 0
    for _, part in sample:
        own = sae.encode(to_device(part, device_of(sae)))
        if (own < 0).any():
            raise NotApplicable(f"{name!r} has negative codes, which a non-negative lasso cannot stand beside")
        fired += int((own > 0).sum())
    if fired == 0:
        raise NotApplicable(f"no latent of {name!r} fires on the sample")
    return fired / sample.acts.tokens


def infer(x: Tensor, own: Tensor, rows: Tensor, penalty: float, steps: int) -> Codes:
    """The SAE's own codes, and the two inferred on its dictionary.

    Args:
        x: activations less the decoder's bias. [t, d]
        own: codes in units of unit rows. [t, m]
        rows: unit rows. [m, d]
        penalty: of the lasso.
        steps: of each fit.
    """
    lasso = fista(x, rows, penalty, steps)
    return Codes(own, fista(x, rows, 0.0, steps, own > 0), fista(x, rows, 0.0, steps, lasso > 0))


def _frame(sae: SAE, x: Tensor) -> Tensor:
    """x [t, d] as the decoder writes it: normalised where the SAE normalises its inputs."""
    bare = unwrapped(sae)
    return encoder_input_frame(x, bare.normalize)[0] if isinstance(bare, AffineSAE) else x


def _add_fidelity(out: Scores, unit: str, x: Tensor, total: float, codes: Codes, rows: Tensor) -> None:
    """Explained variances of a block, and what the codes differ in; nothing where the block does not vary.

    Args:
        out: gets the values.
        unit: name of the block.
        x: activations less the decoder's bias. [t, d]
        total: sum of squares about the mean of the sample.
        codes: of the tokens.
        rows: unit rows. [m, d]
    """
    if total == 0:
        return
    own, refit, found = (
        explained_variance((x - f @ rows).double().square().sum().item(), total)
        for f in (codes.own, codes.refit, codes.fista)
    )
    values = {
        "explained_variance": own,
        "explained_variance_refit": refit,
        "explained_variance_fista": found,
        "magnitude_gap": refit - own,
        "choice_gap": found - refit,
    }
    for name, value in values.items():
        out.add(name, value, unit=unit, weight=total)
    best = codes.refit.double().sum().item()
    ratio = codes.own.double().sum().item() / best if best else float("nan")
    out.add("magnitude_ratio", ratio, unit=unit, weight=best)
    out.add("l0_fista", (codes.fista > 0).sum(1).double().mean().item(), unit=unit, weight=len(x))


def _add_recovery(
    out: Scores, sae: SAE, lm: WorldModel, rows: Tensor, bias: Tensor, penalty: float, cfg: Config
) -> None:
    """F1 of the best latent of each feature, for own and for inferred codes, over deciles of frequency.

    Args:
        out: gets the values.
        sae: the SAE.
        lm: the world.
        rows: unit rows. [m, d]
        bias: of the decoder. [d]
        penalty: of the lasso.
        cfg: settings of the task.
    """
    a, x = lm.features(0)[: cfg.max_tokens], lm.activations(0)[: cfg.max_tokens].to(rows.device)
    inferred = fista(_frame(sae, x) - bias, rows, penalty, cfg.steps)
    for name, f in (("feature_f1", sae.encode(x)), ("feature_f1_fista", inferred)):
        best = truth.of_features(truth.count(truth.firing(f), truth.firing(a.to(f.device)))).cpu()
        for i, features in enumerate(lm.by_frequency[: sae.d_sae].tensor_split(10)):
            if len(features):
                out.add(name, best[features].mean().item(), unit=f"decile {i}", weight=len(features))


TASK = Task(CARD, Config, prepare, evaluate)
