"""From texts to batches of token ids: cutting to a context, padding, telling special tokens from real ones."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from saebench_lite.data.types import LongTexts
from saebench_lite.errors import SaebenchError
from saebench_lite.models.devices import moved

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKENIZER_PROBE_TEXT = (
    'The Quick  brown fox\'s 1,234.50 tokens\n\n\tdef f(x): return x**2  # <b>"déjà vu"</b> e\u0301 naïve ＡＢＣ ½ '
    "Straße ÇA İstanbul Привет мир 你好，世界 こんにちは مرحبا नमस्ते 🙂🏽 can't WON'T  unbelievably 0x1F 007 "
)
"Mixed scripts, cases, numbers, code and blanks: what tokenizers differ on."


METASPACE = "\u2581"
"Stands for a space in the vocabularies of SentencePiece."


class TokenBatch(NamedTuple):
    """Texts padded on the right."""

    ids: Tensor
    "[b, L] long"
    attention: Tensor
    "[b, L] bool, False on padding."
    real: Tensor
    "[b, L] bool, False on padding and on special tokens."

    def inputs(self, _dtype: torch.dtype) -> dict[str, Tensor]:
        """What a Hugging Face model is called with."""
        return {"input_ids": self.ids, "attention_mask": self.attention.long()}


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """16 hex digits of the ids that a tokenizer gives `TOKENIZER_PROBE_TEXT`.

    They depend on merges, normalisation, pre-splitting and added special tokens, which the vocabulary does not show.
    """
    ids = tokenizer(TOKENIZER_PROBE_TEXT, add_special_tokens=True)["input_ids"]
    return hashlib.sha256(repr([int(i) for i in ids]).encode()).hexdigest()[:16]


def special_ids(tokenizer: PreTrainedTokenizerBase, also: int | None = None) -> Tensor:
    """Ids of the tokens that mark structure (BOS, EOS, PAD, CLS, SEP, ...) and of `also`, sorted. [s]

    UNK stands for a word of the text and counts as real, unless it is one of the others too, as in GPT-2.
    """
    t: Any = tokenizer  # typed as if an id could be a list
    structure = {t.bos_token_id, t.eos_token_id, t.pad_token_id, t.cls_token_id, t.sep_token_id} - {None}
    unknown = {t.unk_token_id} - structure
    more = set() if also is None else {also}
    return torch.tensor(sorted({*t.all_special_ids} - unknown | more), dtype=torch.long)


def cut(ids: Sequence[int], context: int, long_texts: LongTexts, special: set[int], name: str) -> list[int]:
    """Ids of a text cut to `context` tokens; special tokens at either end stay.

    Args:
        ids: the text's token ids, special ones included.
        context: tokens it may have.
        long_texts: the end that is cut; "refuse" raises SaebenchError instead.
        special: ids of special tokens.
        name: what messages call the text.
    """
    if len(ids) <= context:
        return list(ids)
    if long_texts == "refuse":
        raise SaebenchError(
            f"{name} has {len(ids)} tokens, more than the context of {context}; shorten it or allow cutting"
        )
    head = 1 if ids[0] in special else 0
    tail = 1 if len(ids) > 1 and ids[-1] in special else 0
    body = ids[head : len(ids) - tail]
    room = context - head - tail
    if room < 1:
        raise SaebenchError(f"context {context} has no room for text beside {head + tail} special tokens; raise it")
    body = body[len(body) - room :] if long_texts == "cut_left" else body[:room]
    return [*ids[:head], *body, *ids[len(ids) - tail :]]


def refuse_unknown(rows: Sequence[Sequence[int]], known: int, name: str) -> None:
    """SaebenchError for a token id that an embedding of `known` rows has none for. `name` is the model's."""
    top = max((max(row) for row in rows if row), default=0)
    if top >= known:
        raise SaebenchError(
            f"the tokenizer of {name} gives token id {top}, for which its embedding of {known} rows has none; give the"
            " model its own tokenizer, or resize the embedding"
        )


def real_lengths(ids: Sequence[Sequence[int]], special: Tensor) -> list[int]:
    """Number of tokens of each text that are not special. special: ids [s]"""
    flat = torch.tensor(list(chain.from_iterable(ids)), dtype=torch.long)
    so_far = torch.cat([torch.zeros(1, dtype=torch.long), (~torch.isin(flat, special)).cumsum(0)])
    return so_far[torch.tensor([0, *accumulate(map(len, ids))])].diff().tolist()


def rows_by_length(ids: Sequence[Sequence[int]], max_tokens: int) -> Iterator[list[int]]:
    """Numbers of the texts that go through the model together, longest texts first.

    A batch has at most `max_tokens` tokens when padded, and one text at least.
    """
    order = sorted(range(len(ids)), key=lambda i: (-len(ids[i]), i))
    start = 0
    while start < len(order):
        rows = order[start : start + max(1, max_tokens // max(1, len(ids[order[start]])))]
        start += len(rows)
        yield rows


def padded(rows: Sequence[Sequence[int]], filler: int, special: Tensor, device: torch.device) -> TokenBatch:
    """Texts padded on the right to the longest of them.

    Args:
        rows: token ids of each text.
        filler: id written on padding, which no statistic reads.
        special: ids of special tokens. [s]
        device: where the batch goes.
    """
    lengths = torch.tensor([len(row) for row in rows])
    attention = torch.arange(max(1, int(lengths.max()))) < lengths[:, None]
    ids = torch.full(attention.shape, filler, dtype=torch.long)
    ids[attention] = torch.tensor(list(chain.from_iterable(rows)), dtype=torch.long)
    real = attention & ~torch.isin(ids, special)
    return TokenBatch(moved(ids, device), moved(attention, device), moved(real, device))


def vocabulary_words(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Vocabulary entries that are purely a-z letters after at most one leading space, sorted.

    A decoder that strips the space of a text's first token (Llama 2) does not take it from a word.
    """
    words = set()
    for token in tokenizer.get_vocab():
        text = tokenizer.convert_tokens_to_string([token])
        words.add(f" {text}" if token.startswith(METASPACE) and not text.startswith(" ") else text)
    return sorted(w for w in words if (bare := w.removeprefix(" ")) and all(c in string.ascii_letters for c in bare))
