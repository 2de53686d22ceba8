"""How many tokens a model takes and which ids it knows, out of configurations that say so in many ways."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

NO_LIMIT = 1 << 30


def context_of(config: object, tokenizer: object, net: nn.Module) -> int:
    """Tokens of a text at most, special ones included.

    The least of what configuration, tokenizer and learned positions say. What is no positive number says nothing (XLNet
    writes -1). Models of RoBERTa's family count positions from behind their padding id, so that the last rows of the
    table are all that is usable.

    Args:
        config: of the text model.
        tokenizer: may know a limit too.
        net: the model.
    """
    limits = [getattr(config, "max_position_embeddings", None), getattr(tokenizer, "model_max_length", None)]
    for name, module in net.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            limits.append(module.num_embeddings - module.padding_idx - 1)
    return min([int(limit) for limit in limits if limit is not None and _is_limit(limit)], default=NO_LIMIT)


def window_of(config: object) -> int:
    """Tokens that attention of a layer looks back at least, where the configuration says so."""
    limits = [getattr(config, name, None) for name in ("sliding_window", "window_size", "attention_chunk_size")]
    return min([int(limit) for limit in limits if limit is not None and _is_limit(limit)], default=NO_LIMIT)


def embedding_rows(net: nn.Module, vocabulary: int) -> int:
    """Token ids that the embedding has a row for, from 0 on; `vocabulary` where the model does not show it."""
    any_net: Any = net
    try:
        table = any_net.get_input_embeddings()
    except (AttributeError, NotImplementedError):  # what transformers raises for a model that does not tell its table
        return vocabulary
    return table.num_embeddings if isinstance(table, nn.Embedding) else vocabulary


def _is_limit(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
