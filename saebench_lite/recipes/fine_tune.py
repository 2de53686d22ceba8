"""A short fine-tune of a finished SAE on what the model does with its reconstruction (Karvonen, arXiv:2503.17272).

The loss is (MSE + a KL) / 2: squared error of the reconstruction, and the divergence of the next-token distribution
with the reconstruction at the hook from the model's own, weighed so that both count alike in each batch. Which
latents fire for a row is the SAE's own choice and carries no gradient; thresholds stay. Decoder rows keep their norms.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.models.protocol import Model
from saebench_lite.models.tokens import TokenBatch
from saebench_lite.saes.affine import AffineSAE, encoder_input_frame

Part = Literal["all", "adapter"]
TEXTS_A_PASS = 256
"Texts that are tokenised and sorted into batches together."
FIXED = ("threshold",)
STALE = ("held_out", "training_curve", "seconds", "published_l0")
"Facts of an SAE's metadata that no longer hold afterwards."


@dataclass(frozen=True, kw_only=True)
class FineTune:
    """Choices of a fine-tune; stored in the SAE's meta."""

    part: Part = "all"
    "All weights but thresholds, or a linear map behind the decoder, which starts as the identity and is folded in."
    steps: int = 500
    tokens: int = 1024
    "Padded tokens of a batch."
    lr: float = 5e-5
    "Of Adam at the start; falls linearly to 0."
    seed: int = 0
    "Of the order of texts."

    def __post_init__(self) -> None:
        if self.part not in get_args(Part):
            raise SaebenchError(f"part {self.part!r} of an SAE is not known; choose from {', '.join(get_args(Part))}")
        if self.steps < 1 or self.tokens < 2 or self.lr <= 0:
            raise SaebenchError(f"steps, tokens and lr must be positive, not {self.steps}, {self.tokens} and {self.lr}")


class Tuned:
    """An affine SAE whose reconstruction has gradients."""

    def __init__(self, sae: AffineSAE, recipe: FineTune, device: torch.device) -> None:
        copied = {name: t.clone().to(device) for name, t in sae.tensors.items()}
        self.sae = AffineSAE(**copied, **sae.settings())
        self.map = torch.eye(sae.d_in, device=device)
        self.shift = torch.zeros(sae.d_in, device=device)
        self.norms = self.sae.W_dec.norm(dim=1, keepdim=True)
        whole = {name: t for name, t in self.sae.tensors.items() if name not in FIXED}
        self.trained = [self.map, self.shift] if recipe.part == "adapter" else list(whole.values())
        for t in self.trained:
            t.requires_grad_()

    def reconstruct(self, x: Tensor) -> Tensor:
        """Reconstruction [n, d] of rows x [n, d], as the SAE's own, through the linear map."""
        sae, t = self.sae, self.sae.tensors
        with torch.no_grad():
            on = sae.encode(x) != 0
        u, shift, scale = encoder_input_frame(x, sae.normalize)
        pre = (u - t["b_dec"] if sae.subtract_b_dec else u) @ t["W_enc"]
        value = torch.exp(t["r_mag"]) * pre + t["b_mag"] if sae.activation == "gated" else pre + t["b_enc"]
        decoded = torch.where(on, value, 0.0) @ t["W_dec"] + t["b_dec"]
        return (decoded @ self.map + self.shift) * scale + shift

    @torch.no_grad()
    def before_step(self) -> None:
        """Takes from the decoder's gradient what would only change the norms of its rows."""
        grad = self.sae.W_dec.grad
        if grad is not None:
            unit = self.sae.W_dec / self.norms.clamp(min=1e-12)
            grad -= (grad * unit).sum(1, keepdim=True) * unit

    @torch.no_grad()
    def after_step(self) -> None:
        """Gives the decoder's rows their norms back."""
        now = self.sae.W_dec.norm(dim=1, keepdim=True)
        self.sae.W_dec.mul_(self.norms / now.clamp(min=1e-12))

    @torch.no_grad()
    def export(self, meta: dict[str, object]) -> AffineSAE:
        """The SAE with the linear map folded into its decoder, on the CPU."""
        t = {name: tensor.detach().cpu().clone() for name, tensor in self.sae.tensors.items()}
        if not self.map.requires_grad:
            return AffineSAE(**t, **self.sae.settings(), meta=meta)
        settings = self.sae.settings()
        if settings["subtract_b_dec"]:  # the bias of the decoder no longer serves the encoder
            offset = t["b_dec"] @ t["W_enc"]
            gate_only = self.sae.activation == "gated"
            t["b_enc"] = t["b_enc"] - offset
            if gate_only:
                t["b_mag"] = t["b_mag"] - torch.exp(t["r_mag"]) * offset
            settings["subtract_b_dec"] = False
        t["W_dec"] = t["W_dec"] @ self.map.detach().cpu()
        t["b_dec"] = t["b_dec"] @ self.map.detach().cpu() + self.shift.detach().cpu()
        return AffineSAE(**t, **settings, meta=meta)


def fine_tune(
    sae: AffineSAE,
    lm: Model,
    hook: str,
    texts: Sequence[str],
    recipe: FineTune,
    *,
    on_step: Callable[[int, int], None] | None = None,
) -> AffineSAE:
    """The SAE after a fine-tune, on the CPU; the one given is left as it is.

    Args:
        sae: of the model's hook.
        lm: a model that predicts next tokens.
        hook: where the reconstruction is put in, at the positions that the rule of the site reads.
        texts: to train on, read in random order as often as the steps need.
        recipe: what is trained, and how long.
        on_step: called with the steps done and all steps.

    Raises:
        SaebenchError: a model that predicts no tokens, an SAE of another width, no texts.
    """
    if not lm.is_causal:
        raise SaebenchError(f"{lm.name} predicts no next tokens; a fine-tune needs a model that does")
    if lm.hook_width(hook) != sae.d_in or sae.d_out != sae.d_in:
        raise SaebenchError(f"the SAE maps {sae.d_in} to {sae.d_out} numbers, and {hook} has {lm.hook_width(hook)}")
    if not texts:
        raise SaebenchError("there are no texts to train on; name a source that holds some")
    started = time.monotonic()
    tuned = Tuned(sae, recipe, lm.device)
    optimizer = torch.optim.AdamW(tuned.trained, lr=recipe.lr, weight_decay=0.0)
    batches = _batches(lm, tuple(dict.fromkeys(texts)), recipe)
    with torch.enable_grad():
        for step in range(recipe.steps):
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr * (1 - step / recipe.steps)
            error, divergence = losses(tuned, lm, hook, next(batches))
            weight = (error / (divergence + 1e-8)).detach()
            optimizer.zero_grad()
            (0.5 * (error + weight * divergence)).backward()
            tuned.before_step()
            torch.nn.utils.clip_grad_norm_(tuned.trained, 1.0)
            optimizer.step()
            tuned.after_step()
            if on_step is not None:
                on_step(step + 1, recipe.steps)
    kept = {key: value for key, value in sae.meta.items() if key not in STALE}
    facts = {"fine_tune": {**asdict(recipe), "seconds": round(time.monotonic() - started)}}
    return tuned.export({**kept, **facts})


def losses(tuned: Tuned, lm: Model, hook: str, batch: TokenBatch) -> tuple[Tensor, Tensor]:
    """(squared error summed over d, KL(model || model with the reconstruction) in nats), means over positions.

    Args:
        tuned: the SAE.
        lm: the model.
        hook: where the reconstruction is put in.
        batch: texts.
    """
    prefix = lm.prefix(batch, hook)
    read = lm.positions(hook).read(batch.real, prefix.acts)
    x = prefix.acts[read].float()
    rows = tuned.reconstruct(x)
    replacement = prefix.acts.float().masked_scatter(read[..., None], rows)
    patched = lm.logits_with(batch, prefix, replacement, hook, gradients=True)[batch.real].float().log_softmax(-1)
    with torch.no_grad():
        clean = lm.logits(batch)[batch.real].float().log_softmax(-1)
    divergence = (clean.exp() * (clean - patched)).sum(-1).mean()
    return (rows - x).square().sum(-1).mean(), divergence


def _batches(lm: Model, texts: tuple[str, ...], recipe: FineTune) -> Iterator[TokenBatch]:
    """Batches of texts in random order, without end."""
    generator = torch.Generator().manual_seed(recipe.seed)
    while True:
        order, empty = torch.randperm(len(texts), generator=generator).tolist(), True
        for start in range(0, len(order), TEXTS_A_PASS):
            chosen = [texts[i] for i in order[start : start + TEXTS_A_PASS]]
            ids = lm.tokenize(chosen, context=lm.context, long_texts="cut_right")
            made = [batch for _, batch in lm.batches(ids, max_tokens=recipe.tokens) if batch.real.any()]
            for i in torch.randperm(len(made), generator=generator).tolist():
                empty = False
                yield made[i]
        if empty:
            raise SaebenchError("the texts hold no real token to train on; name a source with words")
