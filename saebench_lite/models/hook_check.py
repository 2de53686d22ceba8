"""Are hooks what they are called? Each is read once, on a few tokens, before anything is computed.

`attn_out` and `mlp_out` of a block must add up with what the block reads to what it writes: resid_pre + attn_out +
mlp_out = resid_post, or, where a model norms each sum as BERT does, resid_post = norm(norm(resid_pre + attn_out) +
mlp_out). An architecture that adds the residual inside its modules (BLOOM), norms or scales what it adds (Granite) or
has a third part fails that and is refused, instead of being scored on something else.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from saebench_lite.errors import SaebenchError
from saebench_lite.models.hookpoints import HookPoint
from saebench_lite.models.protocol import Model
from saebench_lite.models.tokens import TokenBatch

SUM_NORMS = (("attention.output.LayerNorm", "output.LayerNorm"), ("self_attn_layer_norm", "final_layer_norm"))
"Where models that norm each sum keep the two norms of a block."
TOLERANCE = 0.01
"Of the largest number that a block adds."


def probe(model: Model) -> TokenBatch:
    """Two texts of three tokens."""
    top = min(model.vocabulary, 100)
    ids = torch.arange(6, device=model.device).view(2, 3) * 7 % top
    return TokenBatch(ids, torch.ones_like(ids, dtype=torch.bool), torch.ones_like(ids, dtype=torch.bool))


def check_once(model: Model, blocks: nn.ModuleList, point: HookPoint, checked: set[int]) -> None:
    """`check_sum` for the first hook of a block that needs it.

    Args:
        model: whose hook it is.
        blocks: of the model.
        point: any hook.
        checked: numbers of the blocks that passed; this one is added.
    """
    if point.kind not in ("attn_out", "mlp_out") or point.layer in checked:
        return
    checked.add(point.layer)  # before it is read for that
    try:
        check_sum(model, blocks[point.layer], point)
    except SaebenchError:
        checked.discard(point.layer)
        raise


def check_sum(model: Model, block: nn.Module, point: HookPoint) -> None:
    """SaebenchError unless attention and MLP of a block are what it adds to the stream.

    Args:
        model: whose `collect` reads hooks.
        block: the hook's.
        point: an attn_out or mlp_out.
    """
    hooks = {kind: f"blocks.{point.layer}.hook_{kind}" for kind in ("resid_pre", "attn_out", "mlp_out", "resid_post")}
    why = f"hook {point.name!r} of {model.name} cannot be trusted"
    way_out = "name the module by its path instead"
    try:
        got = {kind: model.collect(probe(model), [hook])[hook].double() for kind, hook in hooks.items()}
    except SaebenchError as error:
        raise SaebenchError(f"{why}, for the parts of its block cannot be compared ({error}); {way_out}") from error
    pre, attention, mlp, post = got.values()
    sums = [pre + attention + mlp, *_normed(block, pre, attention, mlp, model.dtype)]
    added = (post - pre).abs().max().item()
    room = TOLERANCE * added + 8 * torch.finfo(model.dtype).eps * post.abs().max().item()
    off = min((post - total).abs().max().item() for total in sums)
    if not off <= room:
        raise SaebenchError(
            f"{why}: resid_pre + attn_out + mlp_out of block {point.layer} is off resid_post by {off:.3g}, where the"
            f" block adds {added:.3g} at most ({type(block).__name__} norms, scales or includes more); {way_out}"
        )


def _normed(block: nn.Module, pre: Tensor, attention: Tensor, mlp: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Sums with a norm after each of the two parts, where the block has such norms.

    Args:
        block: may have them.
        pre: what it reads. [b, L, d]
        attention: what attention gives. [b, L, d]
        mlp: what the MLP gives. [b, L, d]
        dtype: of the model.
    """
    modules = dict(block.named_modules())
    pairs = [(modules[a], modules[b]) for a, b in SUM_NORMS if a in modules and b in modules]
    with torch.no_grad():
        return [second((first((pre + attention).to(dtype)) + mlp).to(dtype)).double() for first, second in pairs]
