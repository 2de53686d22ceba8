"""A short fine-tune of a finished SAE on what the model does with its reconstruction (Karvonen, arXiv:2503.17272).

The loss is (MSE + a KL) / 2: squared error of the reconstruction, and the divergence of the next-token distribution
with the reconstruction at the hook from the model's own, weighed so that both count alike in each batch. Which
latents fire for a row is the SAE's own choice and carries no gradient; thresholds stay. Decoder rows keep their norms.
Trained are the SAE's weights, or a linear map behind it, or low-rank changes of the model behind the hook (LoRA), which
the paper reports to gain about the same and not to add up. The gap in cross-entropy that the reconstruction costs is
measured before and after on texts that are not trained on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Annotated, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from saebench_lite.api.settings import Count, Range, Settings
from saebench_lite.errors import SaebenchError, told
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.models.low_rank import LowRank
from saebench_lite.models.protocol import Model
from saebench_lite.recipes.recipe import Positive, Seed
from saebench_lite.recipes.spliced import SplicedStream, both_alike
from saebench_lite.saes.affine import AffineSAE, encoder_input_frame

Part = Literal["all", "adapter", "lora"]
HELD_OUT = 20
"One text in so many is for the gap before and after, and is not trained on."
MOST_HELD_OUT = 128
FIXED = ("threshold",)
STALE = ("held_out", "training_curve", "seconds", "published_l0")
"Facts of an SAE's metadata that no longer hold afterwards."


@dataclass(frozen=True, kw_only=True)
class FineTune(Settings):
    """Choices of a fine-tune; stored in the SAE's meta."""

    part: Part = "all"
    """All weights but thresholds; or a linear map behind the decoder, which starts as the identity and is folded in; or
    low-rank changes of the model behind the hook, which leave the SAE as it is."""
    rank: Count = 16
    "Of the changes of the model."
    steps: Count = 500
    tokens: Annotated[int, Range(2)] = 1024
    "Padded tokens of a batch."
    lr: Positive = 5e-5
    "Of Adam at the start; falls linearly to 0."
    seed: Seed = 0
    "Of the order of texts."

    def __post_init__(self) -> None:
        if self.part not in (known := get_args(Part)):
            raise SaebenchError(f"part {told(self.part)} of an SAE is not known; choose from {', '.join(known)}")
        super().__post_init__()


class Tuned:
    """An affine SAE whose reconstruction has gradients."""

    def __init__(self, sae: AffineSAE, recipe: FineTune, device: torch.device) -> None:
        copied = {name: t.clone().to(device) for name, t in sae.tensors.items()}
        self.sae = AffineSAE(**copied, **sae.settings())
        self.map = torch.eye(sae.d_in, device=device)
        self.shift = torch.zeros(sae.d_in, device=device)
        self.norms = self.sae.W_dec.norm(dim=1, keepdim=True)
        whole = {name: t for name, t in self.sae.tensors.items() if name not in FIXED}
        parts = {"all": list(whole.values()), "adapter": [self.map, self.shift], "lora": []}
        self.trained: list[Tensor] = parts[recipe.part]
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


class FineTuned(NamedTuple):
    """What a fine-tune gives."""

    sae: AffineSAE
    "On the CPU."
    model: LowRank | None
    "The changes of the model; None where the SAE was trained."


def fine_tune(
    sae: AffineSAE,
    lm: Model,
    hook: str,
    texts: Sequence[str],
    recipe: FineTune,
    *,
    on_step: Callable[[int, int], None] | None = None,
) -> FineTuned:
    """The SAE after a fine-tune, or the changes of the model; the SAE given and the model are left as they are.

    `meta["fine_tune"]` of the SAE holds the recipe, seconds, and the gap in cross-entropy (nats a token, spliced less
    clean) on the last texts before and after, where there are `HELD_OUT` texts or more.

    Args:
        sae: of the model's hook.
        lm: a model that predicts next tokens.
        hook: where the reconstruction is put in, at the positions that the rule of the site reads.
        texts: to train on, read in random order as often as the steps need.
        recipe: what is trained, and how long.
        on_step: called with the steps done and all steps.

    Raises:
        SaebenchError: a model that predicts no tokens, an SAE of another width, no texts, nothing to change for LoRA.
    """
    if lm.hook_width(hook) != sae.d_in or sae.d_out != sae.d_in:
        raise SaebenchError(f"the SAE maps {sae.d_in} to {sae.d_out} numbers, and {hook} has {lm.hook_width(hook)}")
    started = time.monotonic()
    tuned, low = Tuned(sae, recipe, lm.device), _low_rank(lm, hook, recipe)
    last, train = _split(texts)
    adapted = nullcontext if low is None else low.attached
    stream = SplicedStream(lm, hook, train, batch=recipe.tokens, seed=recipe.seed, adapted=adapted)
    test = SplicedStream(lm, hook, last, batch=recipe.tokens, adapted=adapted) if last else None
    before = test and gap(tuned, test)
    trained = tuned.trained if low is None else low.trained
    optimizer, batches = torch.optim.AdamW(trained, lr=recipe.lr, weight_decay=0.0), stream.batches()
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * (1 - step / recipe.steps)
        batch, _ = next(batches)
        with torch.enable_grad():
            rows = tuned.reconstruct(batch.x)
            error, divergence = (rows - batch.x).square().sum(-1).mean(), batch.divergence(rows)
            optimizer.zero_grad()
            both_alike(error, divergence).backward()
        tuned.before_step()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        tuned.after_step()
        if on_step is not None:
            on_step(step + 1, recipe.steps)
    facts: dict[str, object] = {**asdict(recipe), "seconds": round(time.monotonic() - started)}
    if test is not None:
        facts |= {"gap_before": before, "gap_after": gap(tuned, test)}
    kept = {key: value for key, value in sae.meta.items() if low is not None or key not in STALE}
    return FineTuned(tuned.export({**kept, "fine_tune": facts}), low)


def _low_rank(lm: Model, hook: str, recipe: FineTune) -> LowRank | None:
    """The changes that the recipe trains; None where it trains the SAE."""
    if recipe.part != "lora":
        return None
    if not isinstance(lm, LanguageModel):
        raise SaebenchError(f"{lm.name} has no weights that LoRA could change; choose another part")
    return LowRank(lm, hook, recipe.rank, recipe.seed)


def _split(texts: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(texts for the gap, texts to train on): evenly spaced ones, at most `MOST_HELD_OUT`, and the rest."""
    known = tuple(dict.fromkeys(texts))
    last = known[HELD_OUT - 1 :: HELD_OUT][:MOST_HELD_OUT]
    apart = set(last)
    return last, tuple(text for text in known if text not in apart)


@torch.no_grad()
def gap(tuned: Tuned, stream: SplicedStream) -> float:
    """Next-token cross-entropy with the reconstruction less that without, over the stream's first epoch; nats."""
    clean = spliced = tokens = 0.0
    for batch, place in stream.batches():
        if place.epoch:
            break
        without, with_rows, count = batch.cross_entropies(tuned.reconstruct(batch.x))
        clean, spliced, tokens = clean + without, spliced + with_rows, tokens + count
    return float(f"{(spliced - clean) / max(tokens, 1):.6g}")
