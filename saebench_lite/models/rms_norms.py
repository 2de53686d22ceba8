"""RMS norms of a 16-bit model on a GPU in one kernel, where its modules take one kernel an operation.

Such a module widens the activation to float32, squares, averages, scales and narrows it, each time from memory to
memory: about 40 bytes a number. torch's fused norm (pytorch/pytorch#153666; torch 2.9 on a GPU) needs 4 to 20, by where
the module rounds. Only norms are replaced whose own output comes out of it, but for the last digit of a few numbers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm

AGREE = 0.98
"Share of numbers that are the same to the last digit, at least; a norm that rounds elsewhere has about .75."
Form = Callable[[Any, Tensor], Tensor]
SCALES = (1e-3, 1.0, 1e3)
"Of the activations tried: a small one shows where epsilon stands."


def with_fused_norms(net: nn.Module) -> nn.Module:
    """The model, with its RMS norms fused where it runs on a GPU in 16 bits; elsewhere as it is."""
    weight = next(net.parameters())
    if weight.device.type != "cpu" and weight.dtype in (torch.bfloat16, torch.float16):
        fuse_norms(net)
    return net


@torch.no_grad()
def fuse_norms(net: nn.Module) -> list[str]:
    """Names of the modules whose forward is a fused one from now on.

    A module is left alone where its class is not called an RMSNorm, its forward takes more than an activation or was
    replaced already, its weight has another type than the model's first one, or no fused form gives its output.
    """
    fused, dtype = list[str](), next((p.dtype for p in net.parameters()), None)
    for name, module in net.named_modules():
        if type(module).__name__.endswith("RMSNorm") and "forward" not in vars(module) and _plain(module, dtype):
            form = _form(module)
            if form is not None:
                module.forward = MethodType(form, module)  # bound: a deep copy is bound to its own weight
                fused.append(name)
    return fused


def _form(module: Any) -> Form | None:
    """The fused form that gives a module's output; None where none does."""
    x = torch.randn(1, 16, len(module.weight), generator=torch.Generator().manual_seed(0))
    x = torch.cat([x * scale for scale in SCALES]).to(module.weight)
    try:
        want = module(x)
        return next((form for form in FORMS if _agree(form(module, x), want)), None)
    except Exception:  # noqa: BLE001  (whatever it takes, it is no plain norm)
        return None


def _plain(module: Any, dtype: torch.dtype | None) -> bool:
    """Whether a module has a weight [d] of a type, an epsilon and a forward of one argument."""
    takes = inspect.signature(module.forward).parameters
    weight = getattr(module, "weight", None)
    return len(takes) == 1 and _is_row(weight, dtype) and _epsilon(module) is not None


def _is_row(weight: object, dtype: torch.dtype | None) -> bool:
    return isinstance(weight, Tensor) and weight.ndim == 1 and weight.dtype == dtype


def _epsilon(module: Any) -> float | None:
    found = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    return found if isinstance(found, float) else None


def _agree(got: Tensor, want: Tensor) -> bool:
    if got.dtype != want.dtype or got.shape != want.shape:
        return False
    digits = torch.finfo(want.dtype)
    # the unit vector is rounded, and its product with the weight again
    near = torch.isclose(got, want, rtol=2 * digits.eps, atol=digits.tiny)
    return bool(near.all()) and (got == want).float().mean().item() >= AGREE


def _rounded_before_weight(module: Any, x: Tensor) -> Tensor:
    """As Llama, Mistral and Qwen."""
    return module.weight * rms_norm(x, x.shape[-1:], None, _epsilon(module))


def _rounded_after_weight(module: Any, x: Tensor) -> Tensor:
    """As OLMo 2 and Gemma 4."""
    return rms_norm(x, x.shape[-1:], module.weight, _epsilon(module))


def _weight_beside_one(module: Any, x: Tensor) -> Tensor:
    """As Gemma to Gemma 3, whose weights are about 0."""
    return rms_norm(x.float(), x.shape[-1:], 1.0 + module.weight.float(), _epsilon(module)).to(x.dtype)


FORMS = (_rounded_before_weight, _rounded_after_weight, _weight_beside_one)
