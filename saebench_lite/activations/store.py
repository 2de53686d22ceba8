"""Activations of a corpus at a hook point: collected in one pass, cached by content, read in chunks.

Only real tokens are stored (the mask comes from the tokenizer, never from values). On disk an entry is one safetensors
file `x` [tokens, d] and `offsets` [texts + 1], memory-mapped when read; a checksum guards it, a damaged one is rebuilt.
An entry's name comes from the texts, the model and what its tokenizer makes of a fixed text, so an entry that is there
is looked up without tokenising anything; the number of texts that were cut is stored with it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saebench_lite.activations.acts import Acts, TokenChoice
from saebench_lite.data.types import Corpus
from saebench_lite.errors import SaebenchError
from saebench_lite.files import atomic_path, digest
from saebench_lite.models.protocol import Model
from saebench_lite.progress import NoProgress, Progress

_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


def collect(
    lm: Model,
    hook: str,
    corpus: Corpus,
    *,
    also: Sequence[str] = (),
    tokens: TokenChoice = "all",
    cache: Path | None = None,
    batch_tokens: int = 8192,
    progress: Progress | None = None,
) -> tuple[Acts, list[str]]:
    """Activations of `corpus` at `hook`, from the cache if they are there, and notes on what was cut.

    Args:
        lm: the model.
        hook: where activations are read.
        corpus: the texts.
        also: hooks cached in the same pass of the model, where there is one and a cache.
        tokens: "last" stores each text's last real token only.
        cache: folder of the cache; without one everything is held in memory.
        batch_tokens: padded tokens of a batch.
        progress: receives how many texts have passed through the model.
    """
    path = _entry(lm, hook, corpus, tokens, cache)
    if path is not None and (entry := _open(path)) is not None:
        acts, cut = entry
        (progress or NoProgress()).update(_stage(corpus), len(acts), len(acts))
        return acts, _cut_notes(cut, corpus, lm)
    hooks = [hook] if path is None else [hook, *also]
    acts_at, notes = collect_many(
        lm, hooks, corpus, tokens=tokens, cache=cache, batch_tokens=batch_tokens, progress=progress
    )
    return acts_at[hook], notes


def collect_many(
    lm: Model,
    hooks: Sequence[str],
    corpus: Corpus,
    *,
    tokens: TokenChoice = "all",
    cache: Path | None = None,
    batch_tokens: int = 8192,
    progress: Progress | None = None,
) -> tuple[dict[str, Acts], list[str]]:
    """Activations of `corpus` at each of `hooks`, and notes on what was cut: one pass of the model for all that the
    cache lacks.

    Args:
        lm: The model.
        corpus: The texts.
        hooks: Hook points of the model; each has a cache entry of its own.
        tokens: "last" stores each text's last real token only.
        cache: Folder of the cache; without one everything is held in memory.
        batch_tokens: Padded tokens of a batch.
        progress: Receives how many texts have passed through the model.

    Raises:
        SaebenchError: A text without a real token, or a hook that does not exist.
    """
    progress, texts_done = progress or NoProgress(), 0
    paths = {hook: _entry(lm, hook, corpus, tokens, cache) for hook in hooks}
    cached = {hook: entry for hook, path in paths.items() if path is not None and (entry := _open(path)) is not None}
    acts_at, cut = {hook: acts for hook, (acts, _) in cached.items()}, next((cut for _, cut in cached.values()), 0)
    lacking = [hook for hook in paths if hook not in acts_at]
    if not lacking:
        progress.update(_stage(corpus), len(corpus.texts), len(corpus.texts))
        return acts_at, _cut_notes(cut, corpus, lm)
    context = _context(lm, corpus)
    ids = lm.tokenize(corpus.texts, context=context, long_texts=corpus.long_texts)
    cut = sum(len(row) >= context for row in ids)
    lengths = _lengths(lm, ids, corpus, tokens)
    offsets = torch.tensor([0, *np.cumsum(lengths)])
    stores: dict[str, _Store] = {}
    with ExitStack() as files:
        for hook in lacking:
            path = paths[hook]
            partial = None if path is None else files.enter_context(atomic_path(path))
            stores[hook] = _Store(partial, int(offsets[-1]), lm.hook_width(hook), lm.dtype, offsets, cut)
        for rows, batch in lm.batches(ids, max_tokens=batch_tokens):
            chosen = _last(batch.real) if tokens == "last" else batch.real
            for hook, out in lm.collect(batch, lacking).items():
                stored = out[chosen].to("cpu", lm.dtype)
                for row, x in zip(rows, stored.split([lengths[row] for row in rows]), strict=True):
                    stores[hook].x[offsets[row] : offsets[row + 1]] = x
            texts_done += len(rows)
            progress.update(_stage(corpus), texts_done, len(corpus.texts))
        for store in stores.values():
            store.write_checksum()
    acts_at |= {hook: _finished(paths[hook], store) for hook, store in stores.items()}
    return acts_at, _cut_notes(cut, corpus, lm)


def _entry(lm: Model, hook: str, corpus: Corpus, tokens: TokenChoice, cache: Path | None) -> Path | None:
    """The file of a cache entry; None without a cache."""
    if cache is None:
        return None
    key = digest([3, lm.fingerprint(), lm.tokenizer_fingerprint(), str(lm.dtype), hook, corpus.fingerprint, tokens])
    return cache / "acts" / f"{key}.safetensors"


def _stage(corpus: Corpus) -> str:
    return f"activations of {corpus.name}"


def _context(lm: Model, corpus: Corpus) -> int:
    return min(corpus.context or lm.context, lm.context)


def _lengths(lm: Model, ids: Sequence[Sequence[int]], corpus: Corpus, tokens: TokenChoice) -> list[int]:
    """Number of tokens stored of each text."""
    lengths = lm.real_lengths(ids)
    for row, real in enumerate(lengths):
        if real == 0:
            raise SaebenchError(
                f"dataset {corpus.name!r} text {row} ({corpus.texts[row][:40]!r}) has no token besides special ones;"
                " drop it"
            )
    return [1] * len(lengths) if tokens == "last" else lengths


def _last(real: Tensor) -> Tensor:
    """The last real token of each text alone. real [b, L] bool, one in each row at least -> [b, L] bool"""
    return real & (real.cumsum(1) == real.sum(1, keepdim=True))


def _cut_notes(cut: int, corpus: Corpus, lm: Model) -> list[str]:
    context = _context(lm, corpus)
    if not cut:
        return []
    side = "left" if corpus.long_texts == "cut_left" else "right"
    fill = f"{cut} of {len(corpus.texts)} texts of {corpus.name!r} fill the context of {context} tokens"
    return [f"{fill} (cut on the {side})"]


class _Store:
    """Activations x [tokens, d] to be filled, in memory or in a memory-mapped cache entry.

    Args:
        path: where to write the entry; None for memory.
        tokens: rows of x.
        d: columns of x.
        dtype: of x.
        offsets: first row of each text, and the number of rows. [texts + 1]
        cut: how many texts were cut.
    """

    def __init__(self, path: Path | None, tokens: int, d: int, dtype: torch.dtype, offsets: Tensor, cut: int) -> None:
        self.path, self.offsets, self.cut = path, offsets, cut
        if path is None:
            self.x = torch.empty(tokens, d, dtype=dtype)
            return
        header = _header(tokens, d, dtype, len(offsets), cut, crc=0)
        size = tokens * d * dtype.itemsize
        with path.open("wb") as file:
            file.truncate(len(header) + size + 8 * len(offsets))
            file.seek(len(header) + size)
            file.write(offsets.numpy().astype("<i8").tobytes())
        self._map = np.memmap(path, mode="r+", offset=len(header), shape=(size,), dtype=np.uint8)
        self.x = torch.from_numpy(self._map).view(dtype).view(tokens, d)

    def write_checksum(self) -> None:
        """Completes the entry with its header; nothing to do in memory."""
        if self.path is None:
            return
        self._map.flush()
        (tokens, d), dtype, n_offsets = self.x.shape, self.x.dtype, len(self.offsets)
        start = len(_header(tokens, d, dtype, n_offsets, self.cut, crc=0))
        header = _header(tokens, d, dtype, n_offsets, self.cut, _checksum(self.path, start))
        with self.path.open("r+b") as file:
            file.write(header)


def _finished(path: Path | None, store: _Store) -> Acts:
    """The activations of a store: in memory, or mapped from its entry at `path`."""
    if path is None:
        return Acts(store.x, store.offsets)
    entry = _open(path, verify=False)
    assert entry is not None
    return entry[0]


def _header(tokens: int, d: int, dtype: torch.dtype, n_offsets: int, cut: int, crc: int) -> bytes:
    """A safetensors header of a length that does not depend on the checksum."""
    end = tokens * d * dtype.itemsize
    entries = {
        "__metadata__": {"crc32": f"{crc:08x}", "texts_cut": str(cut)},
        "x": {"dtype": _NAMES[dtype], "shape": [tokens, d], "data_offsets": [0, end]},
        "offsets": {"dtype": "I64", "shape": [n_offsets], "data_offsets": [end, end + 8 * n_offsets]},
    }
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _checksum(path: Path, start: int) -> int:
    crc = 0
    with open(path, "rb") as file:
        file.seek(start)
        while block := file.read(1 << 22):
            crc = zlib.crc32(block, crc)
    return crc


def _open(path: Path, verify: bool = True) -> tuple[Acts, int] | None:
    """The cached activations and how many of the texts were cut; None if absent or damaged (and removed)."""
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    if not path.exists():
        return None
    try:
        with open(path, "rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
        if verify and f"{_checksum(path, start):08x}" != about["crc32"]:
            raise ValueError("checksum")
        tensors = load_file(path)
        return Acts(tensors["x"], tensors["offsets"]), int(about["texts_cut"])
    except (SafetensorError, ValueError, KeyError, OSError):
        path.unlink(missing_ok=True)
        return None
