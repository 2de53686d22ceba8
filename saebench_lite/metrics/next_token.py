"""Cross-entropy and KL divergence of next-token predictions, in float32 whatever the logits are in.

b texts of L positions over V tokens. On a CUDA device with Triton one pass over a table of logits gives them
(`_fused_next_token`); elsewhere, and as the reference, tables of log-probabilities are made.
"""

from __future__ import annotations

import functools
import importlib.util

import torch
from torch import Tensor

from saebench_lite.progress import warn


def losses(logits: Tensor, ids: Tensor) -> Tensor:
    """Cross-entropy [b, L-1] of predicting token t+1 from position t, float32. logits [b, L, V], ids [b, L]."""
    if fused_on(logits.device):
        from saebench_lite.metrics import _fused_next_token

        return _fused_next_token.losses(logits[:, :-1], ids[:, 1:])
    flat = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none"
    )
    return flat.view(len(ids), -1)


def comparable(logits: Tensor) -> Tensor:
    """What `losses_and_divergence` reads of clean logits [b, L, V]: log-probabilities [b, L-1, V], or, fused, these."""
    return logits[:, :-1] if fused_on(logits.device) else log_probabilities(logits)


def losses_and_divergence(clean: Tensor, spliced: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """`losses` of the spliced logits and KL(clean || spliced) in nats, both [b, L-1].

    On a CPU text by text: tables of one text stay in its cache.

    Args:
        clean: what `comparable` gives of the clean logits. [b, L-1, V]
        spliced: logits. [b, L, V]
        ids: tokens. [b, L]
    """
    if fused_on(spliced.device):
        from saebench_lite.metrics import _fused_next_token

        return _fused_next_token.losses_and_divergence(clean, spliced[:, :-1], ids[:, 1:])
    texts = 1 if spliced.device.type == "cpu" else len(ids)
    loss, gap = [], []
    for p, logits, tokens in zip(clean.split(texts), spliced.split(texts), ids.split(texts), strict=True):
        q = log_probabilities(logits)
        loss.append(-q.gather(-1, tokens[:, 1:, None])[..., 0])
        gap.append(_divergence(p, q))
    return torch.cat(loss), torch.cat(gap)


def log_probabilities(logits: Tensor) -> Tensor:
    """Log-probabilities [b, L-1, V] float32 of the tokens after the first. logits [b, L, V]"""
    return logits[:, :-1].float().log_softmax(-1)


def _divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) [...] in nats of log-probabilities [..., V]; q is used up."""
    gap = torch.sub(p, q, out=q)
    return gap.mul_(p.exp()).sum(-1)


@functools.cache
def fused_on(device: torch.device) -> bool:
    """Whether the fused pass runs on a device: CUDA, Triton is installed, and a first try there compiles."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    try:
        from saebench_lite.metrics import _fused_next_token

        zeros = torch.zeros(1, 1, 2, device=device)
        _fused_next_token.losses(zeros, zeros[..., 0].long())
    except Exception as error:  # noqa: BLE001  (a compiler, a driver, a linker: whatever is missing)
        warn(f"Triton cannot be used on {device} ({type(error).__name__}), so losses take more memory and time")
        return False
    return True
