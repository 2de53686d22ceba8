"""What all SAE trainers share: parameters, units, the reconstruction loss, export. `architectures.py` has the rest.

Inputs are scaled so that E|x| = sqrt(d) and the scale is folded back on export. Decoder rows are free while training
and are brought to norm 1 on export, their norms folded into the encoder; codes and scores are in units of unit rows
throughout. (With a frozen encoder there is no folding: see `frozen.py`.) Running figures stay on the device.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple, TypedDict

import torch
from torch import Tensor

from saebench_lite.recipes.frozen import covariance_root, project_to_cone
from saebench_lite.recipes.recipe import SAERecipe
from saebench_lite.recipes.spliced import both_alike
from saebench_lite.saes.affine import Activation, AffineSAE
from saebench_lite.saes.matching_pursuit import MatchingPursuitSAE
from saebench_lite.saes.top_afa import TopAFASAE

TrainedSAE = AffineSAE | MatchingPursuitSAE | TopAFASAE

SAMPLE_ROWS = 1 << 14
"Rows that fix the input scale, the first centre and the covariance."


class Codes(NamedTuple):
    """What an encoder says about a batch."""

    f: Tensor
    "Codes [n, d_sae]."
    score: Tensor
    "What the latents are selected by [n, d_sae]."
    on: Tensor | None = None
    "JumpReLU's differentiable on/off mask [n, d_sae]."


class Chosen(TypedDict, total=False):
    """AffineSAE's arguments for the activation function."""

    activation: Activation
    k: int
    threshold: Tensor
    r_mag: Tensor
    b_mag: Tensor


class Trainer(ABC):
    """Parameters and the state that training carries between steps."""

    start_norm: ClassVar[float] = 1.0
    "Norm of the decoder rows, and of the encoder that starts as their transpose."

    def __init__(self, recipe: SAERecipe, x: Tensor, device: str | torch.device) -> None:
        """`x` [n, d]: rows to fix scale, centre and covariance by; at most SAMPLE_ROWS of them are drawn."""
        self.recipe, self.device = recipe, torch.device(device)
        d = x.shape[1]
        generator = torch.Generator().manual_seed(recipe.seed)
        rows = torch.randn(recipe.d_sae, d, generator=generator)
        chosen = torch.randperm(len(x), generator=generator)[:SAMPLE_ROWS]
        sample = x[chosen.to(x.device)].float()
        if recipe.frozen == "decoder":
            rows = rows @ covariance_root(sample)
        decoder = rows / rows.norm(dim=1, keepdim=True)
        self.scale = math.sqrt(d) / sample.norm(dim=1).mean().item()
        start = self.start(self.start_norm * decoder, sample.mean(0) * self.scale)
        self.p = {name: t.to(self.device).requires_grad_() for name, t in start.items()}
        for name, part in (("W_dec", "decoder"), ("W_enc", "encoder")):
            if recipe.frozen == part:
                self.p[name].requires_grad_(False)
        self.first_rows = decoder.to(self.device)
        self.silent = torch.zeros(recipe.d_sae, dtype=torch.long, device=self.device)

    def start(self, decoder: Tensor, centre: Tensor) -> dict[str, Tensor]:
        """Parameters to begin with, from decoder rows [d_sae, d] and the mean input [d]."""
        return {
            "W_dec": decoder,
            "W_enc": decoder.T.clone(),
            "b_enc": torch.zeros(len(decoder)),
            "b_dec": centre,
        }

    @property
    def trained(self) -> list[Tensor]:
        """Parameters that are not frozen."""
        return [t for t in self.p.values() if t.requires_grad]

    def norms(self) -> Tensor:
        """Decoder norms [d_sae] that the encoder takes over."""
        return torch.ones_like(self.p["b_enc"]) if self.recipe.frozen == "encoder" else self.p["W_dec"].norm(dim=1)

    def decoder(self) -> Tensor:
        """Decoder rows [d_sae, d] that codes are in units of: unit rows, unless the encoder is frozen."""
        return self.p["W_dec"] / self.norms()[:, None]

    def scores(self, x: Tensor) -> Tensor:
        """Pre-activations [n, d_sae] of scaled rows x [n, d]."""
        p = self.p
        return ((x - p["b_dec"]) @ p["W_enc"] + p["b_enc"]) * self.norms()

    @abstractmethod
    def codes(self, x: Tensor) -> Codes:
        """Codes of scaled rows x [n, d]."""

    def errors(self, x: Tensor, codes: Codes, decoder: Tensor) -> list[Tensor]:
        """Residuals [n, d] whose squares the loss sums; the last is that of the whole dictionary."""
        return [x - codes.f @ decoder - self.p["b_dec"]]

    @abstractmethod
    def penalty(self, codes: Codes, errors: list[Tensor], decoder: Tensor, step: int) -> Tensor:
        """What the architecture adds to the squared error; updates its running figures.

        Args:
            codes: of the batch.
            errors: residuals, as `errors` gives them.
            decoder: rows that codes are in units of. [d_sae, d]
            step: number of the step.
        """

    def loss(self, x: Tensor, step: int, divergence: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Training loss of a batch: squared error summed over d, mean over rows, plus the penalty. []

        Args:
            x: the batch, scaled. [n, d]
            step: number of the step.
            divergence: of the model's predictions, from reconstructions [n, d] that are not scaled; joins the squared
                error so that both count alike.
        """
        codes = self.codes(x)
        decoder = self.decoder()
        errors = self.errors(x, codes, decoder)
        loss = torch.stack([e.square().sum(-1).mean() for e in errors]).sum()
        if divergence is not None:
            loss = both_alike(loss, divergence((x - errors[-1]) / self.scale))
        with torch.no_grad():
            self.silent = torch.where((codes.f > 0).any(0), 0, self.silent + 1)
        return loss + self.penalty(codes, errors, decoder, step)

    @property
    def dead(self) -> Tensor:
        """Latents that have not fired lately [d_sae] bool."""
        return self.silent > self.recipe.dead_after

    @torch.no_grad()
    def figures(self, x: Tensor) -> Tensor:
        """Explained variance (about the batch's mean), L0 and share of dead latents of a batch x [n, d] (scaled), as
        the loss sees them; changes nothing. [3] float32
        """
        codes = self.codes(x)
        error = self.errors(x, codes, self.decoder())[-1].float()
        explained = 1 - error.square().sum() / (x - x.mean(0)).square().sum()
        return torch.stack([explained, (codes.f > 0).sum(-1).float().mean(), self.dead.float().mean()])

    @torch.no_grad()
    def after_step(self) -> None:
        """Projections that follow the optimiser's step."""
        if self.recipe.frozen == "soft_decoder":
            self.p["W_dec"].copy_(project_to_cone(self.p["W_dec"], self.first_rows))

    @torch.no_grad()
    def export(self, meta: dict[str, object]) -> TrainedSAE:
        """The SAE for unscaled inputs, on the CPU."""
        p = {name: t.detach().cpu() for name, t in self.p.items()}
        norms = self.norms().cpu()
        return AffineSAE(
            W_enc=p["W_enc"] * norms,
            b_enc=p["b_enc"] * norms / self.scale,
            W_dec=p["W_dec"] / norms[:, None],
            b_dec=p["b_dec"] / self.scale,
            meta=meta,
            **self.activation(p, norms),
        )

    def activation(self, p: dict[str, Tensor], norms: Tensor) -> Chosen:
        """AffineSAE's arguments for the activation function (here relu), from parameters and norms on the CPU."""
        return {"activation": "relu"}
