"""The bundled model with attention sinks planted at one hook point, and nowhere else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from saebench_lite.models.language_model import LanguageModel
from saebench_lite.models.token_rule import TokenRule

GAIN = 128.0
"A power of two: what is multiplied by it and divided by it again is the same number."


def planted(
    pico: LanguageModel, where: Callable[[Tensor], Tensor], *, adds_bos: bool = True, **rule: str
) -> LanguageModel:
    """A copy of pico whose activations at blocks.2.hook_resid_post are GAIN times as large at some positions.

    The block after the hook divides by GAIN again, so that every other activation and every prediction is pico's own.

    Args:
        pico: the bundled model.
        where: token ids [b, L] -> positions [b, L] bool.
        adds_bos: whether the tokenizer adds its BOS.
        rule: fields of the token rule.
    """
    net: Any = copy.deepcopy(pico.net)
    tokenizer: Any = pico.tokenizer if adds_bos else without_bos(pico.tokenizer)
    seen: list[Tensor] = []
    net.register_forward_pre_hook(lambda _, __, kwargs: seen.append(kwargs["input_ids"]), with_kwargs=True)
    writer, reader = net.model.layers[2], net.model.layers[3]
    write, read = writer.forward, reader.forward

    def scaled(value: Tensor, gain: float) -> Tensor:
        return torch.where(where(seen[-1])[..., None], value * gain, value)

    def writing(*args: Any, **kwargs: Any) -> Any:
        out = write(*args, **kwargs)
        return (scaled(out[0], GAIN), *out[1:]) if isinstance(out, tuple) else scaled(out, GAIN)

    writer.forward = writing
    reader.forward = lambda hidden, *args, **kwargs: read(scaled(hidden, 1 / GAIN), *args, **kwargs)
    return LanguageModel(net, tokenizer, name="planted", rule=TokenRule(**rule))


def without_bos(tokenizer: Any) -> Any:
    """A copy of a tokenizer that adds no special token."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    core.post_processor = None
    names = {"bos_token": tokenizer.bos_token, "eos_token": tokenizer.eos_token, "pad_token": tokenizer.pad_token}
    return PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=tokenizer.model_max_length, **names)


def first(ids: Tensor) -> Tensor:
    """Position 0 of each text."""
    return (torch.arange(ids.shape[1]) == 0).expand(ids.shape)


def tokens(*chosen: int) -> Callable[[Tensor], Tensor]:
    """The positions of some tokens."""
    return lambda ids: torch.isin(ids, torch.tensor(chosen))
