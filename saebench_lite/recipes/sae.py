"""Recipes of small, correct SAE trainers: ReLU with L1, TopK, BatchTopK, JumpReLU.

Inputs are scaled so that E|x| = sqrt(d) and the scale is folded back on export; decoder rows are free while training
and are brought to norm 1 on export, their norms folded into the encoder. Loss: squared error summed over d, mean over
the batch, plus

- relu: s * sum_i f_i |d_i| (Anthropic, April 2024 update);
- topk: the k largest pre-activations * |d_i| of a row (Gao et al., arXiv:2406.04093), with its auxiliary loss on
  latents that have not fired lately;
- batchtopk: the k * batch largest of the batch (Bussmann et al., arXiv:2412.06410), the same auxiliary loss; exported
  as JumpReLU with one threshold, the running mean of the smallest value kept;
- jumprelu: straight-through kernel of width eps on the pre-activation (Rajamanoharan et al., arXiv:2407.14435), the
  gradient also passed to the input as Anthropic does (January 2025), and a penalty on (L0 / target - 1)^2, which pulls
  from both sides (as in Gemma Scope 2).

relu reaches its L0 by a controller on s. So all architectures are compared at equal sparsity.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.sae import AffineSAE, reconstruct

Architecture = Literal["relu", "topk", "batchtopk", "jumprelu"]

L0_STIFFNESS = 20.0
"Weight of JumpReLU's squared relative distance from its L0, beside squared errors of about d per token."


@dataclass(frozen=True, kw_only=True)
class SAERecipe:
    """Every choice that shapes an SAE; kept in its meta."""

    architecture: Architecture
    d_sae: int
    l0: int
    "Active latents per token aimed at."
    steps: int = 6000
    batch: int = 1024
    lr: float = 1e-3
    decay: float = 0.25
    "Last share of the steps over which the learning rate falls to zero."
    aux: float = 1 / 32
    "Weight of the auxiliary loss on dead latents (topk, batchtopk)."
    dead_after: int = 150
    "Steps without firing after which a latent counts as dead."
    bandwidth: float = 1.0
    "Width of JumpReLU's straight-through kernel, in units of scaled inputs."
    seed: int = 0

    def __post_init__(self) -> None:
        if self.architecture not in get_args(Architecture):
            known = ", ".join(get_args(Architecture))
            raise SaebenchError(f"there is no recipe for architecture {self.architecture!r}; choose from {known}")
        if self.steps < 1 or self.batch < 1:
            raise SaebenchError(f"steps and batch must be at least 1, not {self.steps} and {self.batch}")
        if not 0 < self.l0 < self.d_sae:
            raise SaebenchError(f"l0 must lie between 0 and d_sae = {self.d_sae}, not {self.l0}")


class _Step(torch.autograd.Function):
    """pre * [pre > theta] and [pre > theta] with rectangular straight-through gradients to both arguments."""

    @staticmethod
    def forward(ctx, pre: Tensor, theta: Tensor, eps: float) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        ctx.save_for_backward(pre, theta)
        ctx.eps = eps
        on = (pre > theta).to(pre.dtype)
        return pre * on, on

    @staticmethod
    def backward(ctx, grad_value: Tensor, grad_on: Tensor):  # type: ignore[override]
        pre, theta = ctx.saved_tensors
        kernel = ((pre - theta).abs() < ctx.eps / 2).to(pre.dtype) / ctx.eps
        through = kernel * (theta * grad_value + grad_on)
        return (pre > theta) * grad_value + through, -through.sum(0), None


def jump(pre: Tensor, theta: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """JumpReLU values and their on/off mask [n, m], differentiable in pre [n, m] and theta [m]."""
    return _Step.apply(pre, theta, eps)  # type: ignore[return-value]


def keep_topk(score: Tensor, k: int) -> Tensor:
    """The k largest of each row after relu, zeros elsewhere. [n, m]"""
    values, indices = score.topk(k, -1, sorted=False)
    return torch.zeros_like(score).scatter(-1, indices, values.relu())


def keep_batch_topk(score: Tensor, k: int) -> Tensor:
    """The k * n largest of the whole batch after relu, zeros elsewhere. [n, m]"""
    flat = score.relu().flatten()
    values, indices = flat.topk(k * len(score), sorted=False)
    return torch.zeros_like(flat).scatter(0, indices, values).view_as(score)


def auxiliary_loss(error: Tensor, score: Tensor, dead: Tensor, decoder: Tensor, k: int) -> Tensor:
    """Share of the residual's variance that the k strongest dead latents leave unexplained (Gao et al., A.2).

    error [n, d] (detached), score [n, m], dead [m] bool, decoder [m, d]. Zero if nothing is dead.
    """
    n_dead = int(dead.sum())
    if n_dead == 0:
        return error.new_zeros(())
    f = keep_topk(score.masked_fill(~dead, -torch.inf), min(k, n_dead))
    variance = (error - error.mean(0)).square().sum(-1).mean()
    return (error - f @ decoder).square().sum(-1).mean() / variance.clamp(min=1e-12)


class _Trainer:
    """Parameters and the state that training carries between steps."""

    def __init__(self, recipe: SAERecipe, x: Tensor, device: str) -> None:
        self.recipe, self.device = recipe, device
        d = x.shape[1]
        generator = torch.Generator().manual_seed(recipe.seed)
        decoder = torch.randn(recipe.d_sae, d, generator=generator)
        decoder = decoder / decoder.norm(dim=1, keepdim=True)
        if recipe.architecture == "relu":  # a small start loses few latents to the penalty early on
            decoder = 0.3 * decoder
        sample = x[torch.randperm(len(x), generator=generator)[: 1 << 14]].float()
        self.scale = math.sqrt(d) / sample.norm(dim=1).mean().item()
        start = {"W_dec": decoder, "W_enc": decoder.T.clone(), "b_enc": torch.zeros(recipe.d_sae)}
        start["b_dec"] = sample.mean(0) * self.scale
        if recipe.architecture == "jumprelu":
            start["theta"] = torch.ones(recipe.d_sae)
        self.p = {name: t.to(device).requires_grad_() for name, t in start.items()}
        self.silent = torch.zeros(recipe.d_sae, dtype=torch.long, device=device)
        self.pressure, self._log_pressure, self.mean_l0 = 0.0, math.log(0.1), 0.0
        self.threshold = 0.0

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and scores [n, m], in units of unit-norm decoder rows; x [n, d] scaled."""
        p, recipe = self.p, self.recipe
        norms = p["W_dec"].norm(dim=1)
        score = ((x - p["b_dec"]) @ p["W_enc"] + p["b_enc"]) * norms
        if recipe.architecture == "relu":
            return score.relu(), score
        if recipe.architecture == "topk":
            return keep_topk(score, recipe.l0), score
        if recipe.architecture == "batchtopk":
            return keep_batch_topk(score, recipe.l0), score
        return jump(score, p["theta"].clamp(min=0.0), recipe.bandwidth)[0].relu(), score

    def loss(self, x: Tensor, step: int) -> Tensor:
        """Training loss of a batch x [n, d] (scaled); updates the trainer's running figures."""
        p, recipe = self.p, self.recipe
        f, score = self.codes(x)
        decoder = p["W_dec"] / p["W_dec"].norm(dim=1, keepdim=True)
        error = x - f @ decoder - p["b_dec"]
        loss = error.square().sum(-1).mean()
        with torch.no_grad():
            fired = (f > 0).any(0)
            self.silent = torch.where(fired, 0, self.silent + 1)
            l0 = (f > 0).sum(-1).float().mean().item()
        if recipe.architecture in ("topk", "batchtopk"):
            dead = self.silent > recipe.dead_after
            loss = loss + recipe.aux * auxiliary_loss(error.detach(), score, dead, decoder, x.shape[1] // 2)
            if recipe.architecture == "batchtopk":
                smallest = f.detach()[f.detach() > 0].min().item()
                rate = 1.0 if step == 0 else 0.01
                self.threshold += rate * (smallest - self.threshold)
            return loss
        if recipe.architecture == "relu":
            self._control(l0, step)
            return loss + self.pressure * f.sum(-1).mean()
        on = jump(score, p["theta"].clamp(min=0.0), recipe.bandwidth)[1]
        # a silent latent is pulled towards its threshold, or it would never move again
        dead = self.silent > recipe.dead_after
        revive = (torch.relu(p["theta"] - score) * dead).sum(-1).mean()
        off_target = on.sum(-1).mean() / recipe.l0 - 1
        return loss + L0_STIFFNESS * off_target.square() + 1e-3 * revive

    def _control(self, l0: float, step: int) -> None:
        """Moves the sparsity pressure so that L0 goes to its target: proportional in log space, per step."""
        self.mean_l0 = l0 if step == 0 else 0.95 * self.mean_l0 + 0.05 * l0
        warm = min(1.0, (step + 1) / (0.1 * self.recipe.steps))
        error = math.log(max(self.mean_l0, 1e-3) / self.recipe.l0)
        gain = 0.01 if warm >= 1 else 0.003
        self._log_pressure += gain * max(-1.0, min(1.0, error))
        self.pressure = math.exp(self._log_pressure) * warm

    @torch.no_grad()
    def export(self, meta: dict) -> AffineSAE:
        """The SAE for unscaled inputs, decoder rows of norm 1."""
        p = {name: t.detach().cpu() for name, t in self.p.items()}
        norms = p["W_dec"].norm(dim=1)
        parts: dict = {
            "W_enc": p["W_enc"] * norms,
            "b_enc": p["b_enc"] * norms / self.scale,
            "W_dec": p["W_dec"] / norms[:, None],
            "b_dec": p["b_dec"] / self.scale,
        }
        if self.recipe.architecture == "relu":
            return AffineSAE(**parts, activation="relu", meta=meta)
        if self.recipe.architecture == "topk":
            return AffineSAE(**parts, activation="topk", k=self.recipe.l0, meta=meta)
        theta = p["theta"].clamp(min=0.0) if "theta" in p else torch.full_like(norms, self.threshold)
        return AffineSAE(**parts, activation="jumprelu", threshold=theta / self.scale, meta=meta)


@torch.no_grad()
def held_out_figures(sae: AffineSAE, x: Tensor) -> dict[str, float]:
    """L0, explained variance (centred) and dead fraction on held-out rows x [n, d]."""
    sse = total = l0 = 0.0
    fired = torch.zeros(sae.d_sae)
    mean = x.double().mean(0)
    for part in x.float().split(4096):
        f = sae.encode(part)
        sse += (part - reconstruct(sae, part, f)).double().square().sum().item()
        total += (part.double() - mean).square().sum().item()
        l0 += (f != 0).sum().item()
        fired += (f != 0).sum(0)
    return {
        "l0": l0 / len(x),
        "explained_variance": 1 - sse / total,
        "dead_fraction": (fired == 0).float().mean().item(),
        "tokens": len(x),
    }


def train_sae(acts: Tensor, recipe: SAERecipe, *, device: str = "cpu", meta: dict | None = None) -> AffineSAE:
    """Trains on rows acts [n, d] (any float dtype, CPU); the last 2 % (at most 50,000) rows are held out.

    The returned SAE's meta holds the recipe, the figures on the held-out rows and the seconds it took. SaebenchError
    for fewer than 50 rows.
    """
    if acts.ndim != 2 or len(acts) < 50:
        raise SaebenchError(f"activations to train on must be [n >= 50, d], not {list(acts.shape)}; collect more texts")
    started = time.time()
    held = min(50_000, len(acts) // 50)
    train, test = acts[: len(acts) - held], acts[len(acts) - held :]
    trainer = _Trainer(recipe, train, device)
    optimizer = torch.optim.Adam(trainer.p.values(), lr=recipe.lr, betas=(0.9, 0.999))
    generator = torch.Generator().manual_seed(recipe.seed + 1)
    order, place = torch.randperm(len(train), generator=generator), 0
    for step in range(recipe.steps):
        left = (recipe.steps - step) / (recipe.decay * recipe.steps)
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * min(1.0, (step + 1) / 100, left)
        if place + recipe.batch > len(order):
            order, place = torch.randperm(len(train), generator=generator), 0
        x = train[order[place : place + recipe.batch]].to(device, torch.float32) * trainer.scale
        place += recipe.batch
        loss = trainer.loss(x, step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainer.p.values(), 1.0 * math.sqrt(x.shape[1]))
        optimizer.step()
    sae = trainer.export({})
    sae.meta = {
        **(meta or {}),
        "architecture": recipe.architecture,
        "recipe": asdict(recipe),
        "held_out": held_out_figures(sae, test),
        "seconds": round(time.time() - started),
    }
    return sae
