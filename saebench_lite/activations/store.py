"""Activations of a corpus at a hook point: collected in one pass, cached by content, read in chunks.

Only tokens that statistics read are stored: not special ones, nor those that the rule of the site leaves out
(models/token_rule.py). On disk an entry is one safetensors file `x` [tokens, d] and `offsets` [texts + 1],
memory-mapped when read; a checksum guards it, a damaged one is rebuilt. An entry's name comes from the texts, the
model, the rule and what the tokenizer makes of a fixed text, so an entry that is there is looked up without tokenising
its texts; how many texts were cut and tokens left out is stored with it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebench_lite.activations.acts import Acts, TokenChoice
from saebench_lite.data.types import Corpus
from saebench_lite.errors import SaebenchError
from saebench_lite.files import atomic_path, digest
from saebench_lite.models.protocol import Model
from saebench_lite.models.token_rule import last
from saebench_lite.progress import NoProgress, Progress

_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
_HEADER = 512
"Bytes before x, whatever is in the header."


class Entry(NamedTuple):
    """Activations of a corpus at a hook."""

    acts: Acts
    cut: int
    "Texts that were cut to the context."
    asked: int
    "Tokens that there would be if the rule of the site left out special ones alone."
    left_out: int
    "How many of them it left out, as sinks or as first tokens."


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
    """Activations of `corpus` at `hook`, from the cache if they are there, and notes on what was cut or left out.

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
        (progress or NoProgress()).update(_stage(corpus), len(entry.acts), len(entry.acts))
        return entry.acts, _notes(entry, corpus, lm)
    hooks = [hook] if path is None else [hook, *also]
    entries = collect_many(lm, hooks, corpus, tokens=tokens, cache=cache, batch_tokens=batch_tokens, progress=progress)
    return entries[hook].acts, _notes(entries[hook], corpus, lm)


def collect_many(
    lm: Model,
    hooks: Sequence[str],
    corpus: Corpus,
    *,
    tokens: TokenChoice = "all",
    cache: Path | None = None,
    batch_tokens: int = 8192,
    progress: Progress | None = None,
) -> dict[str, Entry]:
    """Activations of `corpus` at each of `hooks`: one pass of the model for all that the cache lacks.

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
    entries = {hook: entry for hook, path in paths.items() if path is not None and (entry := _open(path)) is not None}
    lacking = {hook: lm.positions(hook) for hook in paths if hook not in entries}
    if not lacking:
        progress.update(_stage(corpus), len(corpus.texts), len(corpus.texts))
        return entries
    context = _context(lm, corpus)
    ids = lm.tokenize(corpus.texts, context=context, long_texts=corpus.long_texts)
    cut = sum(len(row) >= context for row in ids)
    lengths = torch.tensor(_lengths(lm, ids, corpus, tokens))
    stores: dict[str, _Store] = {}
    with ExitStack() as files:
        for hook in lacking:
            path = paths[hook]
            partial = None if path is None else files.enter_context(atomic_path(path))
            stores[hook] = _Store(partial, lengths, lm.hook_width(hook), lm.dtype)
        for rows, batch in lm.batches(ids, max_tokens=batch_tokens):
            for hook, out in lm.collect(batch, list(lacking)).items():
                read = lacking[hook].read(batch.real, out)
                chosen = last(read) if tokens == "last" else read
                stores[hook].put(rows, chosen.sum(1).tolist(), out[chosen].to("cpu", lm.dtype))
                asked = last(batch.real) if tokens == "last" else batch.real
                stores[hook].left_out += int((asked & ~chosen).sum())
            texts_done += len(rows)
            progress.update(_stage(corpus), texts_done, len(corpus.texts))
        for store in stores.values():
            store.complete(cut)
    return entries | {hook: _finished(paths[hook], store, cut) for hook, store in stores.items()}


def _entry(lm: Model, hook: str, corpus: Corpus, tokens: TokenChoice, cache: Path | None) -> Path | None:
    """The file of a cache entry; None without a cache."""
    if cache is None:
        return None
    model = [lm.fingerprint(), lm.tokenizer_fingerprint(), str(lm.dtype), hook, lm.positions(hook).code]
    return cache / "acts" / f"{digest([4, *model, corpus.fingerprint, tokens])}.safetensors"


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


def _notes(entry: Entry, corpus: Corpus, lm: Model) -> list[str]:
    """Sentences on what of a corpus was not read."""
    context, notes = _context(lm, corpus), []
    if entry.cut:
        side = "left" if corpus.long_texts == "cut_left" else "right"
        fill = f"{entry.cut} of {len(corpus.texts)} texts of {corpus.name!r} fill the context of {context} tokens"
        notes.append(f"{fill} (cut on the {side})")
    if entry.left_out:
        share = f"{entry.left_out} of {entry.asked} tokens ({entry.left_out / entry.asked:.2%})"
        notes.append(f"{share} of {corpus.name!r} are left out by the token rule")
    return notes


class _Store:
    """Activations x [tokens, d] to be filled, in memory or in a memory-mapped cache entry.

    There is room for `lengths` tokens of each text; what is not used is given back at the end.

    Args:
        path: where to write the entry; None for memory.
        lengths: tokens of each text, at most. [texts]
        d: columns of x.
        dtype: of x.
    """

    def __init__(self, path: Path | None, lengths: Tensor, d: int, dtype: torch.dtype) -> None:
        self.path, self.lengths = path, lengths.clone()
        self.asked, self.left_out = int(lengths.sum()), 0
        self.starts = lengths.cumsum(0) - lengths
        self.offsets = _offsets(lengths)
        if path is None:
            self.x = torch.empty(self.asked, d, dtype=dtype)
            return
        size = self.asked * d * dtype.itemsize
        with path.open("wb") as file:
            file.truncate(_HEADER + size)
        self._map = np.memmap(path, mode="r+", offset=_HEADER, shape=(size,), dtype=np.uint8)
        self.x = torch.from_numpy(self._map).view(dtype).view(self.asked, d)

    def put(self, rows: Sequence[int], counts: Sequence[int], x: Tensor) -> None:
        """Takes in the activations x [sum of counts, d] of the texts `rows`."""
        for row, part in zip(rows, x.split(list(counts)), strict=True):
            self.x[self.starts[row] : self.starts[row] + len(part)] = part
            self.lengths[row] = len(part)

    def complete(self, cut: int) -> None:
        """Closes the gaps of tokens that were left out; on disk it writes offsets, header and checksum too."""
        self.offsets = _offsets(self.lengths)
        tokens, d, dtype = int(self.offsets[-1]), self.x.shape[1], self.x.dtype
        if tokens < len(self.x):
            for start, low, n in zip(self.starts, self.offsets, self.lengths, strict=False):
                self.x[low : low + n] = self.x[start : start + n].clone()  # towards the front, text after text
        self.x = self.x[:tokens]
        if self.path is None:
            return
        self._map.flush()
        del self._map, self.x  # before the file gets shorter under them
        with self.path.open("r+b") as file:
            file.truncate(_HEADER + tokens * d * dtype.itemsize)
            file.seek(0, 2)
            file.write(self.offsets.numpy().astype("<i8").tobytes())
        counts = {"texts_cut": cut, "asked": self.asked, "left_out": self.left_out}
        about = {"crc32": f"{_checksum(self.path, _HEADER):08x}", **{key: str(n) for key, n in counts.items()}}
        with self.path.open("r+b") as file:
            file.write(_header(tokens, d, dtype, len(self.offsets), about))


def _offsets(lengths: Tensor) -> Tensor:
    """First row of each text, and the number of rows. lengths [texts] -> [texts + 1]"""
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def _finished(path: Path | None, store: _Store, cut: int) -> Entry:
    """The activations of a store: in memory, or mapped from its entry at `path`."""
    if path is None:
        return Entry(Acts(store.x, store.offsets), cut, store.asked, store.left_out)
    entry = _open(path, verify=False)
    assert entry is not None
    return entry


def _header(tokens: int, d: int, dtype: torch.dtype, n_offsets: int, about: Mapping[str, str]) -> bytes:
    """A safetensors header of _HEADER bytes."""
    end = tokens * d * dtype.itemsize
    entries = {
        "__metadata__": about,
        "x": {"dtype": _NAMES[dtype], "shape": [tokens, d], "data_offsets": [0, end]},
        "offsets": {"dtype": "I64", "shape": [n_offsets], "data_offsets": [end, end + 8 * n_offsets]},
    }
    text = json.dumps(entries).encode().ljust(_HEADER - 8)
    return len(text).to_bytes(8, "little") + text


def _checksum(path: Path, start: int) -> int:
    crc = 0
    with open(path, "rb") as file:
        file.seek(start)
        while block := file.read(1 << 22):
            crc = zlib.crc32(block, crc)
    return crc


def _open(path: Path, verify: bool = True) -> Entry | None:
    """The entry in a file; None if absent or damaged (and removed)."""
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
        counts = (int(about[key]) for key in ("texts_cut", "asked", "left_out"))
        return Entry(Acts(tensors["x"], tensors["offsets"]), *counts)
    except (SafetensorError, ValueError, KeyError, OSError):
        path.unlink(missing_ok=True)
        return None
