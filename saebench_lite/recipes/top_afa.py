"""top-AFA (Lee et al., arXiv:2503.24277): the norm of an input says how many latents it gets.

The latents with the largest codes are kept until the norm of the code is nearest to share * |x - b_dec|
(`saes/top_afa.py`), and the squared distance of the two norms joins the loss at the recipe's `afa`, beside topk's
auxiliary loss. Where we differ, and why: the paper has a share of 1 and its L0 follows from the weight of that
distance (1/128 to 1/16: 315 to 2,344 of 12,288); here a controller moves the share until the mean L0 is the recipe's,
so that architectures stand at equal L0. The distance is from share * |x - b_dec| with the norms of decoder rows in the
code, as in the choice; the paper's is from |x| without them. Inputs are scaled as for all trainers instead of being
standardised each, and a row may take all latents, which the paper rules out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saebench_lite.recipes.architectures import TopK
from saebench_lite.recipes.recipe import SAERecipe
from saebench_lite.recipes.trainer import Chosen, Codes
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.top_afa import TopAFASAE, keep_by_norm

RATE = 0.01
"Of the controller: relative change of the share a step, for an L0 that is off by a factor of e."
LEAST, MOST = 0.05, 4.0
"Bounds of the share."


class TopAFA(TopK):
    """As many latents an input as its norm asks for."""

    def __init__(self, recipe: SAERecipe, x: Tensor, device: str | torch.device) -> None:
        super().__init__(recipe, x, device)
        self.share = torch.tensor(0.7, dtype=torch.float64, device=self.device)
        self.mean_l0 = torch.zeros((), dtype=torch.float64, device=self.device)

    def codes(self, x: Tensor) -> Codes:
        """Codes of scaled rows x [n, d]."""
        score = self.scores(x)
        norm = self.share.float() * (x - self.p["b_dec"]).detach().norm(dim=-1)
        return Codes(keep_by_norm(score.relu(), self._sizes().detach(), norm), score)

    def penalty(self, codes: Codes, errors: list[Tensor], decoder: Tensor, step: int) -> Tensor:
        """TopK's, and the squared distance of the code's norm from its aim; moves the share.

        Args:
            codes: of the batch.
            errors: residuals, as `errors` gives them.
            decoder: rows that codes are in units of. [d_sae, d]
            step: number of the step.
        """
        aim = self.share.float() * (errors[-1] + codes.f @ decoder).norm(dim=-1)
        distance = ((codes.f * self._sizes()).norm(dim=-1) - aim).square().mean()
        with torch.no_grad():
            l0 = (codes.f > 0).sum(-1).double().mean()
            self.mean_l0 = l0 if step == 0 else 0.9 * self.mean_l0 + 0.1 * l0
            off = (self.mean_l0.clamp(min=1e-3) / self.recipe.l0).log().clamp(-1.0, 1.0)
            self.share = (self.share * (-RATE * off).exp()).clamp(LEAST, MOST)
        return super().penalty(codes, errors, decoder, step) + self.recipe.afa * distance

    def _sizes(self) -> Tensor:
        """Norms of the rows that codes are in units of. [d_sae]"""
        return self.p["W_dec"].norm(dim=1) / self.norms()

    @torch.no_grad()
    def export(self, meta: dict[str, object]) -> TopAFASAE:
        """The SAE for unscaled inputs, on the CPU."""
        affine = super().export(meta)
        assert isinstance(affine, AffineSAE)
        return TopAFASAE(affine, self.share.item())

    def activation(self, p: dict[str, Tensor], norms: Tensor) -> Chosen:
        """Codes before the choice are relu's."""
        return {"activation": "relu"}
