"""Activations of a corpus at a hook point: collected in one pass, cached by content, read in chunks.

Only tokens that statistics read are stored: not special ones, nor those that the rule of the site leaves out
(models/token_rule.py). A damaged cache entry is rebuilt. An entry's name comes from the texts, the model, the rule and
what the tokenizer makes of a fixed text, so an entry that is there is looked up without tokenising its texts; how many
texts were cut and tokens left out is stored with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saebench_lite.activations import last_tokens
from saebench_lite.activations.acts import Acts, TokenChoice
from saebench_lite.activations.cache_entry import Entry, Expected, open_entry, write_entry
from saebench_lite.activations.fill import Fill
from saebench_lite.data.types import Corpus
from saebench_lite.errors import SaebenchError
from saebench_lite.files import atomic_path, digest
from saebench_lite.models.protocol import Model
from saebench_lite.models.token_rule import Positions, last
from saebench_lite.progress import NoProgress, Progress, warn


class NotFinite(SaebenchError):
    """Activations at a hook that are NaN or infinite."""


def collect(
    lm: Model,
    hook: str,
    corpus: Corpus,
    *,
    also: Sequence[str] = (),
    tokens: TokenChoice = "all",
    cache: Path | None = None,
    batch_tokens: int = 8192,
    resident: int = 0,
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
        resident: bytes that activations may take on the model's GPU, where they stay if they fit.
        progress: receives how many texts have passed through the model.
    """
    path = _path(lm, hook, corpus, tokens, cache)
    if path is not None and (entry := open_entry(path, _expected(lm, hook, corpus))) is not None:
        (progress or NoProgress()).update(_stage(corpus), len(entry.acts), len(entry.acts))
        return entry.acts, _notes(entry, corpus, lm)

    def collected(hooks: Sequence[str]) -> Entry:
        common: dict[str, Any] = {"tokens": tokens, "cache": cache, "batch_tokens": batch_tokens}
        common |= {"resident": resident, "progress": progress}
        return collect_many(lm, hooks, corpus, **common)[hook]

    hooks = [hook] if path is None else [hook, *also]
    try:
        entry = collected(hooks)
    except NotFinite:
        if len(hooks) == 1:
            raise
        entry = None  # what is wrong at another hook is no fault of this one
    entry = collected([hook]) if entry is None else entry  # outside: an error holds on to what was read
    return entry.acts, _notes(entry, corpus, lm)


def collect_many(
    lm: Model,
    hooks: Sequence[str],
    corpus: Corpus,
    *,
    tokens: TokenChoice = "all",
    cache: Path | None = None,
    batch_tokens: int = 8192,
    resident: int = 0,
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
        resident: Bytes that activations may take on the model's GPU; those of the first hooks that fit stay there.
        progress: Receives how many texts have passed through the model.

    Where the cache cannot be written, as on a full disk, activations stay in memory, with a warning.

    Raises:
        NotFinite: Activations of a real token that are NaN or infinite, with their number and the first text.
        SaebenchError: A text without a real token, or a hook that does not exist.
    """
    progress, texts_done = progress or NoProgress(), 0
    paths = {hook: _path(lm, hook, corpus, tokens, cache) for hook in hooks}
    entries = {
        hook: entry
        for hook, path in paths.items()
        if path is not None and (entry := open_entry(path, _expected(lm, hook, corpus))) is not None
    }
    lacking = {hook: lm.positions(hook) for hook in paths if hook not in entries}
    if not lacking:
        progress.update(_stage(corpus), len(corpus.texts), len(corpus.texts))
        return entries
    context = _context(lm, corpus)
    ids = lm.tokenize(corpus.texts, context=context, long_texts=corpus.long_texts)
    cut = sum(len(row) >= context for row in ids)
    lengths = torch.tensor(_lengths(lm, ids, corpus, tokens))
    with ExitStack() as files:
        fills = _fills({hook: paths[hook] for hook in lacking}, lengths, lm, resident, files)
        for done in _read(lm, ids, fills, lacking, tokens, batch_tokens):
            texts_done += done
            progress.update(_stage(corpus), texts_done, len(corpus.texts))
        for hook, fill in fills.items():
            _refuse_odd(fill, lm, hook, corpus)
        for fill in fills.values():
            fill.complete(cut)
    for hook, fill in fills.items():
        entries[hook] = _entry(lm, hook, corpus, fill, cut, paths[hook])
    return entries


def _entry(lm: Model, hook: str, corpus: Corpus, fill: Fill, cut: int, path: Path | None) -> Entry:
    """The activations at a hook: mapped from the entry that they were written into, or as they are held, written now.

    Args:
        lm: the model.
        hook: hook point.
        corpus: the texts.
        fill: complete.
        cut: texts that were cut.
        path: of the entry; None without a cache.
    """
    if fill.path is not None and path is not None:
        entry = open_entry(path, _expected(lm, hook, corpus), verify=False)
        assert entry is not None
        return entry
    entry = Entry(Acts(fill.x, fill.offsets), cut, fill.asked, fill.left_out())
    if path is not None and not fill.x.is_cpu:
        try:
            write_entry(path, entry)
        except OSError as error:
            _warn_of_cache(error, "are not kept")
    return entry


def _warn_of_cache(error: OSError, fate: str) -> None:
    warn(f"the cache cannot be written ({error.strerror}), so activations {fate}; give another folder with --cache")


def _read(
    lm: Model,
    ids: Sequence[Sequence[int]],
    fills: Mapping[str, Fill],
    positions: Mapping[str, Positions],
    tokens: TokenChoice,
    batch_tokens: int,
) -> Iterator[int]:
    """Fills in the activations of texts at hooks; how many texts, after each batch.

    Args:
        lm: the model.
        ids: of each text.
        fills: by hook.
        positions: which tokens are read, by hook.
        tokens: all of them, or each text's last one.
        batch_tokens: padded tokens of a batch.
    """
    hooks = list(fills)
    shared, alone = last_tokens.by_beginning(ids, lm.shared_beginnings() if tokens == "last" else 0)
    for rows, packed, texts in last_tokens.batches(lm, ids, shared, batch_tokens):
        for hook, out in lm.collect(packed, hooks).items():
            fills[hook].put(rows, *last_tokens.read(texts, positions[hook], out))
        yield len(rows)
    for places, batch in lm.batches([ids[i] for i in alone], max_tokens=batch_tokens):
        rows = [alone[i] for i in places]
        for hook, out in lm.collect(batch, hooks).items():
            asked, chosen = batch.real, positions[hook].read(batch.real, out)
            if tokens == "last":
                asked, chosen = last(asked), last(chosen)
            fills[hook].put(rows, out, asked, chosen)
        yield len(rows)


def _path(lm: Model, hook: str, corpus: Corpus, tokens: TokenChoice, cache: Path | None) -> Path | None:
    """The file of a cache entry; None without a cache."""
    if cache is None:
        return None
    model = [lm.fingerprint(), lm.tokenizer_fingerprint(), str(lm.dtype), hook, lm.positions(hook).code]
    return cache / "acts" / f"{digest([5, *model, corpus.fingerprint, tokens])}.safetensors"


def _expected(lm: Model, hook: str, corpus: Corpus) -> Expected:
    return Expected(len(corpus.texts), lm.hook_width(hook), lm.dtype)


def _fills(
    paths: Mapping[str, Path | None], lengths: Tensor, lm: Model, resident: int, files: ExitStack
) -> dict[str, Fill]:
    """Room for activations at hooks: beside their paths, or in memory where there is none or it cannot be written.

    Args:
        paths: of the cache entries.
        lengths: tokens of each text. [texts]
        lm: the model.
        resident: bytes that they may take on the model's GPU, the first ones first.
        files: closes the files.
    """
    out = dict[str, Fill]()
    for hook, path in paths.items():
        d, dtype = lm.hook_width(hook), lm.dtype
        size = (int(lengths.sum()) + 1) * d * dtype.itemsize
        fits = lm.device.type != "cpu" and size <= resident
        resident -= size if fits else 0
        room = partial(Fill, lengths=lengths, d=d, dtype=dtype)
        if path is None or fits:
            out[hook] = room(None, device=lm.device if fits else "cpu")
            continue
        try:
            with ExitStack() as opened:
                out[hook] = room(opened.enter_context(atomic_path(path)))
                files.push(opened.pop_all())
        except OSError as error:
            _warn_of_cache(error, "stay in memory")
            out[hook] = room(None)
    return out


def _refuse_odd(fill: Fill, lm: Model, hook: str, corpus: Corpus) -> None:
    odd = fill.odd()
    if odd.any():
        first = int(odd.nonzero()[0])
        way_out = "use --dtype bfloat16" if lm.dtype == torch.float16 else "check the model's weights"
        dtype = str(lm.dtype).removeprefix("torch.")
        raise NotFinite(
            f"{int(odd.sum())} activations of {lm.name} at {hook} are NaN or infinite in {dtype}, the first in text"
            f" {first} of {corpus.name!r} ({corpus.texts[first][:40]!r}); {way_out}"
        )


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
