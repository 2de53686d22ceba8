"""What the suite asks of a model: `LanguageModel` (transformers) and `worlds.model.WorldModel` (synthetic) have it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from saebench_lite.data.types import LongTexts
from saebench_lite.models.branches import Branches
from saebench_lite.models.token_rule import Positions
from saebench_lite.models.tokens import TokenBatch


class Prefix(NamedTuple):
    """What a forward needs to go on from a hook point."""

    acts: Tensor
    "The activation at the hook. [b, L, d]"
    block_input: Tensor | None
    "Input of the hook's block, for hooks inside a block. [b, L, d]"


class Model(Protocol):
    """A model that reads tokens and has hook points."""

    name: str
    revision: str | None
    width: int
    "Of the residual stream."
    vocabulary: int
    context: int
    "Tokens it takes at most, special ones included."
    n_layers: int
    is_causal: bool
    "Whether it predicts next tokens, so that there are logits."
    planted: bool
    "Whether the true features are known (a synthetic world)."
    special: Tensor
    "Ids of the tokens that mark structure (BOS, EOS, PAD, ...), sorted. [s]"
    tokenizer: Any
    "The Hugging Face tokenizer; None for a model that reads no words."

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights, and of its activations."""
        ...

    @property
    def parameters(self) -> int:
        """Number of weights."""
        ...

    def shared_beginnings(self) -> int:
        """Tokens that a beginning shared by texts may have where `collect` takes `Branches`; 0 where it does not."""
        ...

    def fingerprint(self) -> str:
        """SHA-256 over weights, configuration and tokenizer."""
        ...

    def tokenizer_fingerprint(self) -> str:
        """Digest of what the tokenizer makes of a fixed text; empty where there is no tokenizer."""
        ...

    def hook_name(self, hook: str) -> str:
        """The canonical name of a hook, however it is written; SaebenchError if it does not exist."""
        ...

    def hook_width(self, hook: str) -> int:
        """Size of an activation at a hook; SaebenchError if the hook does not exist."""
        ...

    def tokenize(self, texts: Sequence[str], *, context: int | None, long_texts: LongTexts) -> list[list[int]]:
        """Token ids of each text, special tokens included, cut to the context (None: as many as the model takes)."""
        ...

    def positions(self, hook: str) -> Positions:
        """Which positions statistics read at a hook."""
        ...

    def real_lengths(self, ids: Sequence[Sequence[int]]) -> list[int]:
        """Number of tokens of each text that are not special."""
        ...

    def batches(self, ids: Sequence[Sequence[int]], *, max_tokens: int) -> Iterator[tuple[list[int], TokenBatch]]:
        """(row numbers, batch) with at most `max_tokens` padded tokens a batch, and one text at least."""
        ...

    def collect(self, batch: TokenBatch | Branches, hooks: Sequence[str]) -> dict[str, Tensor]:
        """Activations {hook: [b, L, d]} from one forward."""
        ...

    def logits(self, batch: TokenBatch) -> Tensor:
        """Next-token logits [b, L, V]; SaebenchError for a model that predicts none."""
        ...

    def prefix(self, batch: TokenBatch, hook: str) -> Prefix:
        """The model up to a hook: what `logits_with` goes on from."""
        ...

    def prefix_and_final(self, batch: TokenBatch, hook: str) -> tuple[Prefix, Tensor]:
        """What `prefix` gives, and the output of the last block [b, L, d], from one forward."""
        ...

    def logits_from_final(self, batch: TokenBatch, final: Tensor) -> Tensor:
        """Logits [b, L, V] from the output of the last block."""
        ...

    def logits_with(
        self, batch: TokenBatch, prefix: Prefix, replacement: Tensor, hook: str, *, gradients: bool = False
    ) -> Tensor:
        """Logits [b, L, V] with the activation at the hook replaced; only what comes after the hook is computed.

        Args:
            batch: the tokens.
            prefix: what `prefix` gave for this batch and hook.
            replacement: the activation put in. [b, L, d]
            hook: where.
            gradients: whether they can be followed back to the replacement.
        """
        ...
