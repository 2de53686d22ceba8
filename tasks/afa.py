"""Approximate feature activation: has a code the norm that quasi-orthogonal directions would give it?

Per token, with z the activation, f the code, w_i the decoder's rows, b what the SAE writes where no latent fires, m
latents, and a = active latents and the bias: f~ = (f_i |w_i|, |b|) and z_hat = sum f_i w_i + b. Were all directions
orthogonal, |f~| would be |z_hat|.
alignment: median |f~| / |z|, 1 on the diagonal of the ZF plot; alignment_hat: median |f~| / |z_hat|, which leaves the
error of reconstruction out; under_activation: mean of max(0, 1 - |f~| / |z|), over_activation: of
max(0, |f~| / |z| - 1); under_share: share of tokens with |f~| < |z|; nmse: mean |z - z_hat|² / |z|².
eps_gap: median | |z|² - |f~|² | / |f~|²; eps_lbo: that over m - 1, the least eps of directions that explains the token;
eps_active: over a - 1, as only active directions can meet. Medians are over the tokens of a block, their mean over
blocks is the figure.
The bound beside them: eps_decoder, the largest |cos| of two of the directions w_i, b, allows an eps_gap of eps_decoder
(m - 1), or of eps_decoder (a - 1). Where that is 1 or more it leaves |f~| without an upper end: `vacuous` is the share
of tokens for which even the second does, and then an alignment near 1 comes of averaging, not of the bound.

Source: Lee et al., arXiv:2503.24277, and its code. Where we differ, and why:
- alignment_hat, eps_active, eps_decoder and vacuous are ours: the paper's bound takes all m directions, for which it is
  vacuous in every dictionary with a cosine above 1 / (m - 1);
- medians are over tokens of texts in 32 blocks, not over last tokens of sequences;
- no direction is called better: an SAE whose decoder rows are exchanged keeps its alignment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from saebench_lite.activations.acts import to_device
from saebench_lite.activations.oom_backoff import with_backoff
from saebench_lite.activations.pooling import chunk_size
from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext
from saebench_lite.api.settings import Count, Settings
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Scores, Task
from saebench_lite.metrics.quasi_orthogonality import activation_norm, largest_cosine, least_epsilon
from saebench_lite.records.metric import Metric
from saebench_lite.saes.affine import AffineSAE, encoder_input_frame
from saebench_lite.saes.protocol import SAE, decode_like, unwrapped
from saebench_lite.tasks._token_blocks import TokenBlocks, token_blocks

_size = partial(Metric, construct="geometry", better="neither", lower_bound=0.0)
_share = partial(_size, upper_bound=1.0)

CARD = Card(
    name="afa",
    version=1,
    description="has a code the norm that quasi-orthogonal directions would give it?",
    source="Lee et al., arXiv:2503.24277",
    headline=("alignment", "eps_lbo", "vacuous"),
    metrics=(
        _size(name="alignment", meaning="median norm of code over norm of activation; below 1: under-activation"),
        _size(name="alignment_hat", meaning="median norm of code over norm of reconstruction"),
        _share(name="under_activation", meaning="mean of max(0, 1 - norm of code over norm of activation)"),
        _size(name="over_activation", meaning="mean of max(0, norm of code over norm of activation - 1)"),
        _share(name="under_share", meaning="tokens whose code has a smaller norm than the activation"),
        _size(name="eps_gap", meaning="median gap of squared norms over that of the code"),
        _size(name="eps_lbo", meaning="least cosine of all directions that allows the gap, median"),
        _size(name="eps_active", meaning="least cosine of active directions that allows the gap, median"),
        _share(name="eps_decoder", meaning="largest absolute cosine of two directions of the decoder"),
        _share(name="vacuous", meaning="tokens for which the bound by active directions has no upper end"),
        _size(name="nmse", meaning="mean squared error over squared norm of the activation"),
    ),
    default=False,
    seeded=False,
)


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    max_tokens: Count = 50_000
    "Real tokens used at most: texts are taken evenly spaced until there are as many."
    blocks: Count = 32
    "Groups of neighbouring texts, the units of the bootstrap."
    points: Count = 400
    "Tokens, evenly spaced, whose norms are kept in the record for the ZF plot."


def prepare(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> TokenBlocks:
    """The sample of activations."""
    return token_blocks(ctx, cfg.max_tokens, cfg.blocks)


@dataclass(frozen=True)
class Norms:
    """Of tokens, float64, on the CPU. [t] each"""

    z: Tensor
    f: Tensor
    hat: Tensor
    error: Tensor
    active: Tensor
    "Latents that are not 0."


@torch.no_grad()
def evaluate(subject: Subject, ctx: EvalContext, sample: TokenBlocks, cfg: Config, seeds: Sequence[int]) -> Scores:
    """The figures of one SAE.

    Args:
        subject: an SAE that shows its decoder.
        ctx: the site.
        sample: activations, from `prepare`.
        cfg: settings of the task.
        seeds: of the repetitions.
    """
    sae, decoder, out = subject.require_autoencoder(), subject.require_decoder(), Scores()
    bias = sae.decode(torch.zeros(1, sae.d_sae, device=decoder.device))[0]
    rows = chunk_size(sae.d_sae, decoder.device, ctx.memory)
    with_bias = torch.cat([decoder, bias[None]]) if bias.norm() > 0 else decoder
    eps = with_backoff(lambda rows: largest_cosine(with_bias, rows), rows)
    always = len(with_bias) - sae.d_sae  # 1 where there is a bias
    out.add("eps_decoder", eps, unit="all")
    kept = []
    for unit, x in sample:
        norms = with_backoff(lambda rows, x=x: _norms(sae, decoder, bias, x, rows), rows)
        _add(out, unit, norms, sae.d_sae, eps, always)
        kept.append(torch.stack([norms.z, norms.f]))
    bound = eps * (sae.d_sae - 1)
    if bound >= 1:
        ctx.note(f"{subject.name}: the bound by all directions is vacuous, eps_decoder (m - 1) = {bound:.3g}")
    points = torch.cat(kept, 1)
    chosen = torch.linspace(0, points.shape[1] - 1, min(cfg.points, points.shape[1])).round().long()
    z, f = ([float(f"{v:.5g}") for v in row] for row in points[:, chosen].tolist())
    out.diagnostics = {"bound": float(f"{bound:.6g}"), "norms_of_activations": z, "norms_of_codes": f}
    return out


def _norms(sae: SAE, decoder: Tensor, bias: Tensor, x: Tensor, rows: int) -> Norms:
    """Norms of tokens x [t, d], in the frame that the decoder writes to: that of normalised inputs where there is one.

    Args:
        sae: the SAE.
        decoder: its rows. [m, d]
        bias: what it writes where no latent fires. [d]
        x: activations. [t, d]
        rows: tokens encoded at once.
    """
    bare, sizes, parts = unwrapped(sae), decoder.norm(dim=1), []
    for chunk in x.split(rows):
        z = to_device(chunk, decoder.device)
        f = sae.encode(z)
        if isinstance(bare, AffineSAE):
            z, hat = encoder_input_frame(z, bare.normalize)[0], sae.decode(f)
        else:
            hat = decode_like(sae, f, z)
        norm = activation_norm(f, sizes, bias.norm().item())
        lengths = [v.double().norm(dim=-1) for v in (z, hat, z - hat)]
        parts.append(torch.stack([lengths[0], norm, *lengths[1:], (f != 0).sum(-1).double()]).cpu())
    return Norms(*torch.cat(parts, 1))


def _add(out: Scores, unit: str, norms: Norms, d_sae: int, eps: float, always: int) -> None:
    """Values of one block; tokens without length are left out.

    Args:
        out: gets the values.
        unit: name of the block.
        norms: of its tokens.
        d_sae: number of latents.
        eps: largest cosine of two directions of the decoder.
        always: 1 where the bias counts as an active feature, else 0.
    """
    use = norms.z > 0
    if not use.any():
        return
    z, f, hat, error, active = (v[use] for v in (norms.z, norms.f, norms.hat, norms.error, norms.active))
    ratio, terms = f / z, (active + always - 1).clamp(min=0)
    by_hat = (f / hat)[hat > 0]
    values = {
        "alignment": _median(ratio),
        "under_activation": (1 - ratio).clamp(min=0).mean(),
        "over_activation": (ratio - 1).clamp(min=0).mean(),
        "under_share": (ratio < 1).double().mean(),
        "eps_gap": _median(least_epsilon(z, f, 1.0)),
        "eps_lbo": _median(least_epsilon(z, f, float(d_sae - 1))),
        "eps_active": _median(least_epsilon(z, f, terms)),
        "vacuous": (eps * terms >= 1).double().mean(),
        "nmse": (error / z).square().mean(),
    }
    for name, value in values.items():
        out.add(name, value.item(), unit=unit, weight=len(z))
    out.add("alignment_hat", _median(by_hat).item(), unit=unit, weight=len(by_hat))


def _median(values: Tensor) -> Tensor:
    """Median of the values [t] that are not NaN; NaN without any."""
    known = values[~values.isnan()]
    return known.quantile(0.5) if len(known) else torch.tensor(torch.nan)


TASK = Task(CARD, Config, prepare, evaluate)
