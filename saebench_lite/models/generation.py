"""Continuations of texts with a vector added to the activation at a hook, and how likely they are without it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.models.hookpoints import changing, find_module, parse_hook
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.models.tokens import TokenBatch


@torch.no_grad()
def continued(lm: LanguageModel, ids: Tensor, hook: str, added: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """Token ids [b, n] that follow prompts; the vectors are added at every token, special ones excepted.

    Sampled by inversion: the token at which the cumulated probability passes the uniform number, so that continuations
    under other vectors have their chance in common. SaebenchError for a model without next-token predictions.

    Args:
        lm: the model.
        ids: prompts of one length. [b, L] long
        hook: where vectors are added.
        added: one a prompt. [b, d]
        uniform: numbers from 0 to 1. [b, n]
        temperature: that logits are divided by; 0: the most likely token.
    """
    if not lm.is_causal:
        raise SaebenchError(f"{lm.name} has no next-token head and so no continuations; use a causal language model")
    net: Callable[..., Any] = lm.net
    point = parse_hook(lm.hook_name(hook))
    module = find_module(lm.net, lm.blocks, point)
    cache = "cache" if "cache" in inspect.signature(lm.net.forward).parameters else "past_key_values"  # new, old name
    step, past, out = ids.to(lm.device), None, []
    added, special = added.to(lm.device, lm.dtype), lm.special.to(lm.device)
    attention = torch.ones_like(step)
    for number in range(uniform.shape[1]):
        vectors = added[:, None] * ~torch.isin(step, special)[..., None]
        with changing(module, point.kind, lambda value, v=vectors: value + v.reshape(value.shape)):
            got = net(input_ids=step, attention_mask=attention, use_cache=True, **{cache: past})
        past = got[cache]
        step = drawn(got.logits[:, -1], uniform[:, number].to(lm.device), temperature)
        attention = torch.cat([attention, torch.ones_like(step)], 1)
        out.append(step)
    return torch.cat(out, 1).cpu()


@torch.no_grad()
def likelihood(lm: LanguageModel, ids: Tensor, first: int) -> Tensor:
    """Mean negative log-likelihood a token [b] of tokens `first` and later under the unsteered model, in nats.

    ids [b, L] without padding. float64
    """
    ids = ids.to(lm.device)
    on = torch.ones_like(ids, dtype=torch.bool)
    logits = lm.logits(TokenBatch(ids, on, on))[:, first - 1 : -1].float()
    gathered = logits.log_softmax(-1).gather(-1, ids[:, first:, None])[..., 0]
    return -gathered.mean(1, dtype=torch.float64).cpu()


def drawn(logits: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """One token a row [b, 1] of logits [b, V] by uniform numbers [b], as `continued` samples them."""
    if temperature == 0:
        return logits.argmax(-1, keepdim=True)
    cumulated = (logits.double() / temperature).softmax(-1).cumsum(-1)
    place = torch.searchsorted(cumulated, uniform.double()[:, None] * cumulated[:, -1:], right=True)
    return place.clamp(max=logits.shape[-1] - 1)
