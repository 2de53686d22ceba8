"""Model, hook point and data of one site, with cached activations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebench_lite.activations import store
from saebench_lite.activations.acts import Acts, TokenChoice
from saebench_lite.activations.pooled_codes import Pooled
from saebench_lite.activations.pooling import Pooling
from saebench_lite.activations.prepared import prepared
from saebench_lite.data.types import Corpus, Data
from saebench_lite.files import digest
from saebench_lite.models.protocol import Model
from saebench_lite.progress import NoProgress, Progress, doing, notes_into
from saebench_lite.records.types import SiteInfo
from saebench_lite.saes.protocol import SAE
from saebench_lite.saes.tensor_cores import Encode


class PoolingRequest(NamedTuple):
    """Pooled codes of a corpus that a task asks for."""

    corpus: Corpus
    poolings: Sequence[Pooling]
    tokens: TokenChoice = "all"


SAMPLE = 64
"Texts tokenised to estimate the tokens of a corpus."
BATCH_TOKENS = (2048, 16384)
"Padded tokens of a batch of the model, on a CPU (where what a layer writes should stay in the cache) and on a GPU."


def default_memory(device: torch.device) -> int:
    """Bytes for pooled tables: 1 GiB, on a GPU three tenths of its memory."""
    return int(0.3 * torch.cuda.get_device_properties(device).total_memory) if device.type == "cuda" else 1 << 30


class EvalContext:
    """A model, a hook point and data, with the activations computed so far."""

    def __init__(
        self,
        lm: Model,
        hook: str,
        data: Data,
        *,
        cache: Path | None = None,
        memory: int | None = None,
        batch_tokens: int | None = None,
        encode: Encode = "float32",
        progress: Progress | None = None,
    ) -> None:
        """A model, a hook point and data.

        Args:
            lm: the model.
            hook: any way of writing a hook point of it.
            data: texts and labels.
            cache: folder of cached activations; None: they stay in memory.
            memory: bytes for pooled tables, and on a GPU as many for activations that stay there; None: 1 GiB, on a GPU
                three tenths of its memory.
            batch_tokens: padded tokens of a batch; None: `BATCH_TOKENS`.
            encode: how SAEs are encoded.
            progress: hears what is being done.
        """
        self.lm, self.hook, self.data = lm, lm.hook_name(hook), data
        self.cache = cache
        self.encode: Encode = encode
        self.d_in = lm.hook_width(hook)
        self.device = str(lm.device)
        self.memory = default_memory(lm.device) if memory is None else memory
        self.batch_tokens = BATCH_TOKENS[lm.device.type == "cuda"] if batch_tokens is None else batch_tokens
        self.notes: list[str] = list(data.notes)
        "Warnings, once each, of all that is not inside `collecting`."
        self.hooks_collected_together: tuple[str, ...] = ()
        "Other hooks of this model whose activations are cached in the same pass."
        self._progress = progress or NoProgress()
        self._acts: dict[tuple[str, TokenChoice], tuple[Acts, list[str]]] = {}
        self._requested: dict[tuple[str, TokenChoice], list[Pooling]] = {}
        self._pooled: dict[tuple[str, TokenChoice], Pooled] = {}
        self._resident = 0

    def acts(self, corpus: Corpus, tokens: TokenChoice = "all") -> Acts:
        """Activations of a corpus at the hook: from memory, from disk, or by one pass of the model."""
        key = (corpus.fingerprint, tokens)
        if key not in self._acts:
            acts, notes = store.collect(
                self.lm,
                self.hook,
                corpus,
                also=self.hooks_collected_together,
                tokens=tokens,
                cache=self.cache,
                batch_tokens=self.batch_tokens,
                resident=self.memory - self._resident,
                progress=self._progress,
            )
            self._acts[key] = self._placed(acts), notes
        acts, notes = self._acts[key]
        self.note(*notes)  # to whoever reads them, not to the first one alone
        return acts

    def _placed(self, acts: Acts) -> Acts:
        """Activations on the GPU as long as they fit into `memory` there, so that no SAE has to fetch them again."""
        if self.lm.device.type == "cpu" or self._resident + acts.x.nbytes > self.memory:
            return acts
        self._resident += acts.x.nbytes
        return acts.on(self.lm.device) if acts.x.is_cpu else acts

    def prepared(self, what: str, identity: object, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Tensors that do not depend on the subject, from the cache or made: on the CPU where they were read.

        Args:
            what: names the preparation.
            identity: JSON value of all that they depend on besides the model, its type and device, the hook and the
                token rule: data, settings, seeds, and a number that grows with each change of the code.
            make: makes them.
        """
        if self.cache is None:
            return make()
        model = [self.lm.fingerprint(), self.lm.tokenizer_fingerprint(), str(self.lm.dtype), self.lm.device.type]
        key = digest([what, *model, self.hook, self.lm.positions(self.hook).code, identity])
        return prepared(self.cache / "prepared" / f"{key}.safetensors", make)

    def estimated_tokens(self, corpus: Corpus, context: int | None = None) -> int:
        """Tokens of a corpus that are not special, from evenly spaced texts; `context`: tokens of a text at most."""
        chosen = np.unique(np.linspace(0, len(corpus.texts) - 1, SAMPLE).round().astype(int))
        limit = min(corpus.context or self.lm.context, context or self.lm.context, self.lm.context)
        texts = [corpus.texts[i] for i in chosen]
        ids = self.lm.tokenize(texts, context=limit, long_texts=corpus.long_texts)
        return round(float(np.mean(self.lm.real_lengths(ids))) * len(corpus.texts))

    def rows(self, n: int) -> Tensor | None:
        """At most n activations [n, d] float32, evenly spaced in a corpus that was read; None before any was."""
        for acts, _ in self._acts.values():
            chosen = torch.linspace(0, acts.tokens - 1, min(n, acts.tokens)).round().long()
            return acts.x[chosen.to(acts.x.device)].float()
        return None

    def register_poolings(self, requests: Iterable[PoolingRequest]) -> None:
        """Takes in what a task declares that it will ask for, before any SAE is scored."""
        for corpus, poolings, tokens in requests:
            listed = self._requested.setdefault((corpus.fingerprint, tokens), [])
            listed += [p for p in poolings if p not in listed]

    def pooled(self, sae: SAE, corpus: Corpus, poolings: Sequence[Pooling], tokens: TokenChoice = "all") -> Pooled:
        """Codes of a corpus; where they fit in memory, one pass of the SAE serves all tasks that ask for them.

        Tables of several corpora are held while they fit in memory together; those of another SAE are dropped.

        Args:
            sae: the SAE to encode with.
            corpus: texts.
            poolings: how the tokens of a text become one value; none for the codes of the tokens alone.
            tokens: which tokens of a text are read.
        """
        key = (corpus.fingerprint, tokens)
        acts = self.acts(corpus, tokens)
        last = self._pooled.pop(key, None)
        if last is not None and last.sae is sae and set(poolings) <= set(last.poolings):
            self._pooled[key] = last  # the newest
            self.note(*last.notes)
            return last
        del last  # before other tables are made
        declared = self._requested.get(key, [])
        together: list[Pooling] = [*poolings, *(p for p in declared if p not in poolings)]
        if 4 * len(acts) * sae.d_sae * len(together) > self.memory:
            together = list(poolings)
        taken = self._make_room(sae, 4 * len(acts) * sae.d_sae * len(together))
        self._pooled[key] = Pooled(sae, acts, together, self.memory, taken)
        return self._pooled[key]

    def _make_room(self, sae: SAE, size: int) -> int:
        """Drops what is of other SAEs, and the oldest while all and `size` exceed `memory`: bytes that are left.

        Codes of tokens go before tables.
        """
        self._pooled = {key: pooled for key, pooled in self._pooled.items() if pooled.sae is sae}
        held = list(self._pooled.items())
        for drop in (*(p.drop_codes for _, p in held), *(partial(self._pooled.pop, key) for key, _ in held)):
            taken = sum(p.nbytes for p in self._pooled.values())
            if taken + size <= self.memory:
                return taken
            drop()
        return sum(p.nbytes for p in self._pooled.values())

    @contextmanager
    def shared(self, of: int) -> Iterator[None]:
        """Within it, as one of so many processes that share the memory: with its part of it, and no progress."""
        whole = self.memory, self._progress
        self.memory, self._progress = self.memory // of, NoProgress()
        try:
            yield
        finally:
            self.memory, self._progress = whole

    def release(self) -> None:
        """Frees the pooled codes of the last SAE."""
        self._pooled = {}

    def sample(self, texts: int = 512) -> Tensor:
        """Activations [tokens, d] float32 of evenly spaced texts of all the data, for baselines that look at them."""
        corpora = {c.fingerprint: c for c in self.data.texts}
        corpora |= {d.corpus.fingerprint: d.corpus for d in (*self.data.datasets, *self.data.concepts)}
        pool = [text for corpus in corpora.values() for text in corpus.texts]
        chosen = [pool[i] for i in np.linspace(0, len(pool) - 1, min(texts, len(pool))).round().astype(int)]
        return self.acts(Corpus("sample", tuple(dict.fromkeys(chosen)))).x.to("cpu", torch.float32, copy=True)

    def doing(self, what: str) -> None:
        """Tells whoever follows the run what is being worked on."""
        doing(self._progress, what)

    @contextmanager
    def collecting(self) -> Iterator[list[str]]:
        """A list of its own for the warnings given meanwhile: those of one task on one subject, whatever ran before.

        They are those of `note` and of `progress.warn`.
        """
        outside, self.notes = self.notes, []
        try:
            with notes_into(self.notes):
                yield self.notes
        finally:
            self.notes = outside

    def note(self, *sentences: str) -> None:
        """Adds warnings to the record of what is being scored, each once."""
        self.notes.extend(s for s in dict.fromkeys(sentences) if s not in self.notes)

    def site(self) -> SiteInfo:
        """The site as a record names it: all of it can change a number."""
        return SiteInfo(
            model=self.lm.name,
            revision=self.lm.revision,
            weights=self.lm.fingerprint()[:16],
            hook=self.hook,
            dtype=str(self.lm.dtype).removeprefix("torch."),
            token_rule=self.lm.positions(self.hook).code,
            encode="bf16" if self.encode == "bf16" else "float32",
        )
