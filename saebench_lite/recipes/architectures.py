"""What differs between architectures: how codes are chosen and what is added to the squared error.

- relu: s * sum_i f_i |d_i| (Anthropic, April 2024 update);
- gated: s * sum_i relu(gate_i) |d_i|, and the squared error of the gate's own reconstruction through a detached decoder
  (Rajamanoharan et al., arXiv:2404.16014);
- topk: the k largest pre-activations * |d_i| of a row (Gao et al., arXiv:2406.04093), with its auxiliary loss on
  latents that have not fired lately;
- batchtopk: the k * batch largest of the batch (Bussmann et al., arXiv:2412.06410), the same auxiliary loss; exported
  as JumpReLU with one threshold, the running mean of the smallest value kept;
- matryoshka: batchtopk whose prefixes reconstruct too (Bussmann et al., arXiv:2503.17547); the squared errors are
  summed, and the dead latents that a prefix adds explain that prefix's residual;
- jumprelu: straight-through kernel of width eps on the pre-activation (Rajamanoharan et al., arXiv:2407.14435), the
  gradient also passed to the input as Anthropic does (January 2025), and a penalty on (L0 / target - 1)^2, which pulls
  from both sides (as in Gemma Scope 2);
- matching_pursuit: greedy codes over one dictionary (Costa et al., arXiv:2506.03093), topk's auxiliary loss.

relu and gated reach their L0 by a controller on s. So all architectures are compared at equal sparsity.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from saebench_lite.recipes.recipe import SAERecipe
from saebench_lite.recipes.sparsifiers import auxiliary_loss, jump, keep_batch_topk, keep_topk, smallest_kept
from saebench_lite.recipes.trainer import Chosen, Codes, Trainer
from saebench_lite.saes.matching_pursuit import MatchingPursuitSAE, pursue
from saebench_lite.saes.matching_pursuit import codes as pursuit_codes

L0_STIFFNESS = 20.0
"Weight of JumpReLU's squared relative distance from its L0, beside squared errors of about d per token."


class _Pressed(Trainer):
    """Reaches its L0 by a controller on the weight of an L1 penalty."""

    def __init__(self, recipe: SAERecipe, x: Tensor, device: str | torch.device) -> None:
        super().__init__(recipe, x, device)
        self.pressure = torch.zeros((), device=self.device)
        self._log_pressure = torch.tensor(math.log(0.1), dtype=torch.float64, device=self.device)
        self.mean_l0 = torch.zeros((), dtype=torch.float64, device=self.device)

    @torch.no_grad()
    def _control(self, l0: Tensor | float, step: int) -> None:
        """Moves the sparsity pressure so that L0 goes to its target: proportional in log space, per step."""
        l0 = torch.as_tensor(l0, dtype=torch.float64, device=self.device)
        self.mean_l0 = l0 if step == 0 else 0.95 * self.mean_l0 + 0.05 * l0
        warm = min(1.0, (step + 1) / (0.1 * self.recipe.steps))
        error = (self.mean_l0.clamp(min=1e-3) / self.recipe.l0).log()
        self._log_pressure = self._log_pressure + (0.01 if warm >= 1 else 0.003) * error.clamp(-1.0, 1.0)
        self.pressure = (self._log_pressure.exp() * warm).float()

    def penalty(self, codes: Codes, errors: list[Tensor], decoder: Tensor, step: int) -> Tensor:
        """The L1 penalty at the pressure that the controller has reached.

        Args:
            codes: of the batch.
            errors: residuals, as `errors` gives them.
            decoder: rows that codes are in units of. [d_sae, d]
            step: number of the step.
        """
        self._control((codes.f > 0).sum(-1).float().mean(), step)
        return self.pressure * codes.score.relu().sum(-1).mean()


class ReLU(_Pressed):
    start_norm = 0.3  # a small start loses few latents to the penalty early on

    def codes(self, x: Tensor) -> Codes:
        score = self.scores(x)
        return Codes(score.relu(), score)


class Gated(_Pressed):
    start_norm = 0.3

    def start(self, decoder: Tensor, centre: Tensor) -> dict[str, Tensor]:
        return super().start(decoder, centre) | {n: torch.zeros(len(decoder)) for n in ("r_mag", "b_mag")}

    def codes(self, x: Tensor) -> Codes:
        p, norms = self.p, self.norms()
        product = (x - p["b_dec"]) @ p["W_enc"] * norms
        gate = product + p["b_enc"] * norms
        magnitude = (product * p["r_mag"].exp() + p["b_mag"] * norms).relu()
        return Codes(magnitude * (gate > 0), gate)

    def errors(self, x: Tensor, codes: Codes, decoder: Tensor) -> list[Tensor]:
        gate_alone = x - codes.score.relu() @ decoder.detach() - self.p["b_dec"].detach()
        return [gate_alone, *super().errors(x, codes, decoder)]

    def activation(self, p: dict[str, Tensor], norms: Tensor) -> Chosen:
        return {"activation": "gated", "r_mag": p["r_mag"].clone(), "b_mag": p["b_mag"] * norms / self.scale}


class TopK(Trainer):
    def codes(self, x: Tensor) -> Codes:
        score = self.scores(x)
        return Codes(keep_topk(score, int(self.recipe.l0)), score)

    def penalty(self, codes: Codes, errors: list[Tensor], decoder: Tensor, step: int) -> Tensor:
        """The auxiliary loss at the recipe's weight.

        Args:
            codes: of the batch.
            errors: residuals, as `errors` gives them.
            decoder: rows that codes are in units of. [d_sae, d]
            step: number of the step.
        """
        return self.recipe.aux * self.revival(codes.score, errors, decoder)

    def revival(self, score: Tensor, errors: list[Tensor], decoder: Tensor) -> Tensor:
        """The auxiliary loss: dead latents explain what the living leave over."""
        return auxiliary_loss(errors[-1].detach(), score, self.dead, decoder, decoder.shape[1] // 2)

    def activation(self, p: dict[str, Tensor], norms: Tensor) -> Chosen:
        return {"activation": "topk", "k": int(self.recipe.l0)}


class BatchTopK(TopK):
    def __init__(self, recipe: SAERecipe, x: Tensor, device: str | torch.device) -> None:
        super().__init__(recipe, x, device)
        with torch.no_grad():  # so that a snapshot before the first step has a threshold too
            first = x[: recipe.batch].to(self.device, torch.float32) * self.scale
            self.threshold = smallest_kept(self.codes(first).f).double()

    def codes(self, x: Tensor) -> Codes:
        score = self.scores(x)
        return Codes(keep_batch_topk(score, self.recipe.l0), score)

    def penalty(self, codes: Codes, errors: list[Tensor], decoder: Tensor, step: int) -> Tensor:
        """TopK's; the exported threshold follows the smallest code kept.

        Args:
            codes: of the batch.
            errors: residuals, as `errors` gives them.
            decoder: rows that codes are in units of. [d_sae, d]
            step: number of the step.
        """
        with torch.no_grad():
            smallest = smallest_kept(codes.f).double()
            rate = max(0.01, 10 / (step + 10))  # follows early training, where the values move fast
            moved = smallest if step == 0 else self.threshold + rate * (smallest - self.threshold)
            self.threshold = torch.where(smallest.isfinite(), moved, self.threshold)
        return super().penalty(codes, errors, decoder, step)

    def activation(self, p: dict[str, Tensor], norms: Tensor) -> Chosen:
        threshold = (self.threshold.cpu() / self.scale).float()
        return {"activation": "jumprelu", "threshold": threshold.expand(len(norms)).clone()}


class Matryoshka(BatchTopK):
    def errors(self, x: Tensor, codes: Codes, decoder: Tensor) -> list[Tensor]:
        """The residual that each prefix of the dictionary leaves, in rising order."""
        errors = [x - self.p["b_dec"]]
        for block in self._blocks():
            errors.append(errors[-1] - codes.f[:, block] @ decoder[block])
        return errors[1:]

    def revival(self, score: Tensor, errors: list[Tensor], decoder: Tensor) -> Tensor:
        """Per level: the dead latents it adds explain its residual; fewer than d/2 of them weigh less."""
        k, total = decoder.shape[1] // 2, decoder.new_zeros(())
        for block, error in zip(self._blocks(), errors, strict=True):
            dead = self.dead[block]
            weight = (dead.sum() / k).clamp(max=1.0)
            total = total + weight * auxiliary_loss(error.detach(), score[:, block], dead, decoder[block], k)
        return total

    def _blocks(self) -> list[slice]:
        return [slice(a, b) for a, b in pairwise((0, *self.recipe.prefix_sizes()))]


class JumpReLU(Trainer):
    def start(self, decoder: Tensor, centre: Tensor) -> dict[str, Tensor]:
        return super().start(decoder, centre) | {"theta": torch.ones(len(decoder))}

    def codes(self, x: Tensor) -> Codes:
        score = self.scores(x)
        value, on = jump(score, self.p["theta"].clamp(min=0.0), self.recipe.bandwidth)
        return Codes(value.relu(), score, on)  # relu: the value's straight-through gradient ends at silent latents

    def penalty(self, codes: Codes, errors: list[Tensor], decoder: Tensor, step: int) -> Tensor:
        """The squared distance from the L0, and a pull on silent latents.

        Args:
            codes: of the batch.
            errors: residuals, as `errors` gives them.
            decoder: rows that codes are in units of. [d_sae, d]
            step: number of the step.
        """
        assert codes.on is not None
        # a silent latent is pulled towards its threshold, or it would never move again
        revive = (torch.relu(self.p["theta"] - codes.score) * self.dead).sum(-1).mean()
        off_target = codes.on.sum(-1).mean() / self.recipe.l0 - 1
        return L0_STIFFNESS * off_target.square() + 1e-3 * revive

    def activation(self, p: dict[str, Tensor], norms: Tensor) -> Chosen:
        return {"activation": "jumprelu", "threshold": p["theta"].clamp(min=0.0) / self.scale}


class MatchingPursuit(TopK):
    def start(self, decoder: Tensor, centre: Tensor) -> dict[str, Tensor]:
        return {"W_dec": decoder, "b_dec": centre}

    def norms(self) -> Tensor:
        return self.p["W_dec"].norm(dim=1)

    def codes(self, x: Tensor) -> Codes:
        decoder, centred = self.decoder(), x - self.p["b_dec"]
        score = centred @ decoder.T
        values, indices = pursue(centred, decoder, int(self.recipe.l0), score)
        return Codes(pursuit_codes(values, indices, len(decoder)), score)

    @torch.no_grad()
    def export(self, meta: dict[str, object]) -> MatchingPursuitSAE:
        parts = {"W_dec": self.decoder().cpu(), "b_dec": self.p["b_dec"].cpu() / self.scale}
        return MatchingPursuitSAE(**parts, k=int(self.recipe.l0), meta=meta)
