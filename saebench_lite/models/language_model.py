"""Any Hugging Face language model, read through plain torch hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from saebench_lite.data.types import LongTexts
from saebench_lite.errors import SaebenchError
from saebench_lite.models.branches import Branches, heeded, longest_beginning
from saebench_lite.models.devices import attention_without_plans, resolved
from saebench_lite.models.edits import glance
from saebench_lite.models.hook_check import check_once, probe
from saebench_lite.models.hook_names import canonical
from saebench_lite.models.hookpoints import (
    HookPoint,
    by_token,
    find_blocks,
    find_module,
    parse_hook,
    reading,
    returns_tuple,
    skipping,
    writing,
)
from saebench_lite.models.limits import context_of, embedding_rows
from saebench_lite.models.protocol import Prefix
from saebench_lite.models.rms_norms import with_fused_norms
from saebench_lite.models.sinks import front, positions
from saebench_lite.models.token_rule import Front, Positions, TokenRule
from saebench_lite.models.tokens import (
    TokenBatch,
    cut,
    padded,
    real_lengths,
    refuse_unknown,
    rows_by_length,
    special_ids,
    tokenizer_digest,
)
from saebench_lite.models.transformers_loading import by_name, fingerprint, predicts_next, refuse

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class _Stop(Exception):
    """Raised inside a hook to end the forward once every activation asked for is there."""


class LanguageModel:
    """A Hugging Face model with its tokenizer; implements `protocol.Model`."""

    planted: bool = False

    def __init__(
        self,
        net: nn.Module,
        tokenizer: Any,
        *,
        name: str,
        revision: str | None = None,
        rule: TokenRule = TokenRule(),  # noqa: B008  (frozen)
    ) -> None:
        self.net = with_fused_norms(net.eval().requires_grad_(False))
        self.tokenizer, self.name, self.revision, self.rule, self._seen = tokenizer, name, revision, rule, ""
        config: Any = net.config
        text_config = config.get_text_config() if hasattr(config, "get_text_config") else config
        self.blocks = find_blocks(net)
        self.n_layers = len(self.blocks)
        self.last_hook = f"blocks.{self.n_layers - 1}.hook_resid_post"
        self.width: int = text_config.hidden_size
        self.vocabulary: int = text_config.vocab_size
        self.is_causal = predicts_next(config, [type(net).__name__])
        refuse(config, name)
        self.context: int = context_of(text_config, tokenizer, net)
        self._longest = longest_beginning(self.context, text_config) if self.is_causal else 0
        self.rows = embedding_rows(net, self.vocabulary)
        self._widths, self._hook_names, self._checked = dict[str, int](), dict[str, str](), set[int]()
        self._notice_edits()

    @classmethod
    def load(
        cls,
        name: str,
        *,
        revision: str | None = None,
        device: str = "cpu",
        dtype: str = "float32",
        rule: TokenRule = TokenRule(),  # noqa: B008  (frozen)
    ) -> LanguageModel:
        """The model with a hub id or in a local folder ("pico": the bundled one); SaebenchError if it cannot be loaded.

        "random:NAME" is the same architecture and tokenizer with fresh random weights, the same ones every time: the
        control for what the model learned (Heap et al., arXiv:2501.17727).

        Args:
            name: hub id, folder, "pico", or "random:" before one of them.
            revision: of a hub id.
            device: where the weights go; "auto": the first CUDA device, or the CPU.
            dtype: their type: float32, bfloat16 or float16.
            rule: what is put in front of texts, and which tokens statistics leave out.
        """
        if dtype not in DTYPES:
            raise SaebenchError(f"dtype {dtype!r} is not known; choose from {', '.join(DTYPES)}")
        device = resolved(device)
        net, tokenizer, label = by_name(name, revision, DTYPES[dtype])
        return cls(net.to(device), tokenizer, name=label, revision=revision, rule=rule)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.net.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return next(self.net.parameters()).dtype

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.net.parameters())

    def fingerprint(self) -> str:
        """SHA-256 over weights as they are now, configuration and tokenizer."""
        self._notice_edits()
        self._digest = self._digest or fingerprint(self.net, self.tokenizer, self.context)
        return self._digest

    def _notice_edits(self) -> None:
        """Forgets what was measured on other weights, such as those of before a step of fine-tuning."""
        if (seen := glance(self.net)) == self._seen:
            return
        self._seen, self._digest, self._positions = seen, "", dict[str, Positions]()
        self.front, self.special = Front(), special_ids(self.tokenizer)
        self.front = front(self, self.rule)
        self.special = special_ids(self.tokenizer, self.front.token)

    def tokenizer_fingerprint(self) -> str:
        """Digest of the token ids of a fixed text, which tell tokenizers apart where their vocabularies do not."""
        return tokenizer_digest(self.tokenizer)

    def hook_name(self, hook: str) -> str:
        """The canonical name of a hook, in whatever way it is written; SaebenchError if it does not exist."""
        if hook not in self._hook_names:
            self._hook_names[hook] = canonical(self.net, self.blocks, hook)
        return self._hook_names[hook]

    def hook_width(self, hook: str) -> int:
        """Size of an activation at a hook; SaebenchError if the hook does not exist or gives no vector a token."""
        if hook not in self._widths:
            self._widths[hook] = self.collect(probe(self), [hook])[hook].shape[-1]
        return self._widths[hook]

    def tokenize(self, texts: Sequence[str], *, context: int | None, long_texts: LongTexts) -> list[list[int]]:
        """Token ids of each text, special tokens included as the tokenizer and the rule add them, cut to the context.

        SaebenchError if `context` is more than the model takes, or if a text is too long and long texts are refused.
        """
        context = self.context if context is None else context
        if context > self.context:
            raise SaebenchError(f"context {context} is more than the {self.context} tokens {self.name} takes; lower it")
        special = set(self.special.tolist())
        asked = {"add_special_tokens": True, "truncation": False, "return_attention_mask": False, "verbose": False}
        ids = self.tokenizer(list(texts), **asked)["input_ids"] if texts else []
        rows = [self.front.applied(row) for row in ids]
        refuse_unknown(rows, self.rows, self.name)
        return [cut(row, context, long_texts, special, f"text {i}") for i, row in enumerate(rows)]

    def positions(self, hook: str) -> Positions:
        """Which positions statistics read at a hook; measured when first asked for."""
        hook = self.hook_name(hook)
        self._notice_edits()
        if hook not in self._positions:
            self._positions[hook] = positions(self, hook, self.rule, self.front)
        return self._positions[hook]

    def shared_beginnings(self) -> int:
        """Tokens of a beginning that texts may share in `Branches`; 0 where their mask is not heeded."""
        return self._shared_beginnings

    @cached_property
    def _shared_beginnings(self) -> int:
        return self._longest if self._longest and heeded(self, self.last_hook, self.rows) else 0

    def real_lengths(self, ids: Sequence[Sequence[int]]) -> list[int]:
        """Number of tokens of each text that are not special."""
        return real_lengths(ids, self.special)

    def batches(self, ids: Sequence[Sequence[int]], *, max_tokens: int) -> Iterator[tuple[list[int], TokenBatch]]:
        """(row numbers, batch): texts by length, at most `max_tokens` padded tokens together (one text at least)."""
        pad = self.tokenizer.pad_token_id
        filler = pad if pad is not None and pad < self.rows else (self.tokenizer.eos_token_id or 0)
        for rows in rows_by_length(ids, max_tokens):
            yield rows, padded([ids[i] for i in rows], filler, self.special, self.device)

    @torch.no_grad()
    def collect(self, batch: TokenBatch | Branches, hooks: Sequence[str]) -> dict[str, Tensor]:
        """Activations {hook: [b, L, d]} from one forward that stops after the deepest hook."""
        acts: dict[str, Tensor] = {}
        points = {h: self._parse(h) for h in hooks}

        def store_as(name: str) -> Callable[[object], None]:
            def store(value: object) -> None:
                acts[name] = by_token(value, batch.ids.shape, name)
                if len(acts) == len(points):
                    raise _Stop
                acts[name] = acts[name].clone()  # the model goes on, and may add to it in place

            return store

        with ExitStack() as stack:
            for name, point in points.items():
                stack.enter_context(reading(find_module(self.net, self.blocks, point), point.kind, store_as(name)))
            with suppress(_Stop):
                self._forward(batch)
        if missing := [h for h in hooks if h not in acts]:
            raise SaebenchError(f"hook {missing[0]!r} was never reached in a forward of {self.name}; choose another")
        return acts

    @torch.no_grad()
    def logits(self, batch: TokenBatch) -> Tensor:
        """Next-token logits [b, L, V] of a plain forward."""
        return self._next_token_logits(batch)

    def prefix(self, batch: TokenBatch, hook: str) -> Prefix:
        """The model up to a hook: what `logits_with` goes on from."""
        return self._up_to(batch, hook)[0]

    def prefix_and_final(self, batch: TokenBatch, hook: str) -> tuple[Prefix, Tensor]:
        """What `prefix` gives, and the output of the last block [b, L, d], from one forward."""
        prefix, acts = self._up_to(batch, hook, self.last_hook)
        return prefix, acts[self.last_hook]

    def _up_to(self, batch: TokenBatch, hook: str, *more: str) -> tuple[Prefix, dict[str, Tensor]]:
        point = self._parse(hook)
        again = point.kind in ("attn_out", "mlp_out") and point.layer > 0  # inside a block, which then runs once more
        before = [f"blocks.{point.layer}.hook_resid_pre"] if again else []
        acts = self.collect(batch, list(dict.fromkeys([*before, hook, *more])))
        return Prefix(acts[hook], acts[before[0]] if before else None), acts

    @torch.no_grad()
    def logits_from_final(self, batch: TokenBatch, final: Tensor) -> Tensor:
        """Logits [b, L, V] from the output of the last block: final norm, head and soft-capping are the model's own."""
        return self._resume(batch, self._parse(self.last_hook), final, None)

    def logits_with(
        self, batch: TokenBatch, prefix: Prefix, replacement: Tensor, hook: str, *, gradients: bool = False
    ) -> Tensor:
        """Logits [b, L, V] with the activation at the hook replaced by [b, L, d]; only what comes after it runs.

        Args:
            batch: texts the prefix was made of.
            prefix: the model up to the hook, as `prefix` gives it.
            replacement: what stands at the hook instead. [b, L, d]
            hook: where it stands.
            gradients: whether gradients flow back to the replacement.
        """
        with torch.set_grad_enabled(gradients):
            return self._resume(batch, self._parse(hook), replacement, prefix.block_input)

    def _resume(self, batch: TokenBatch, point: HookPoint, replacement: Tensor, block_input: Tensor | None) -> Tensor:
        replacement = replacement.to(self.dtype)
        with ExitStack() as stack:
            skipped = {"resid_post": point.layer + 1, "resid_pre": point.layer}.get(point.kind, 0)
            if skipped:
                stack.enter_context(self._skipping(skipped, replacement))
            else:
                if block_input is not None:
                    stack.enter_context(self._skipping(point.layer, block_input))
                stack.enter_context(writing(find_module(self.net, self.blocks, point), point.kind, replacement))
            return self._next_token_logits(batch)

    def _next_token_logits(self, batch: TokenBatch) -> Tensor:
        if not self.is_causal:
            raise SaebenchError(f"{self.name} has no next-token head and so no logits; use a causal language model")
        return self._forward(batch).logits

    def _parse(self, hook: str) -> HookPoint:
        point = parse_hook(self.hook_name(hook))
        check_once(self, self.blocks, point, self._checked)
        return point

    def _forward(self, batch: TokenBatch | Branches) -> Any:
        extra = {"use_cache": False} if self.is_causal else {}
        with attention_without_plans(self.device):
            return self.net(**batch.inputs(self.dtype), **extra)

    def _skipping(self, blocks: int, value: Tensor) -> AbstractContextManager[None]:
        return skipping(list(self.blocks)[:blocks], value, as_tuple=self._blocks_return_tuples)

    @cached_property
    def _blocks_return_tuples(self) -> bool:
        one = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        return returns_tuple(self.blocks[0], lambda: self._forward(TokenBatch(one, one == 0, one == 0)))
