"""Model, hook point and data of one site, with cached activations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from saebench_lite.activations import store
from saebench_lite.activations.acts import Acts, Keep
from saebench_lite.activations.pooled_codes import Pooled
from saebench_lite.activations.pooling import Pooling
from saebench_lite.data.types import Corpus, Data
from saebench_lite.models.protocol import Model
from saebench_lite.records.types import SiteInfo
from saebench_lite.saes.protocol import SAE

TOKEN_RULE = "no-special-tokens"
"The model reads BOS, EOS, PAD and other special tokens; no statistic does."


class EvalContext:
    """A model, a hook point and data, with the activations computed so far."""

    def __init__(
        self,
        lm: Model,
        hook: str,
        data: Data,
        *,
        cache: Path | None = None,
        memory: int = 1 << 30,
        batch_tokens: int = 8192,
        tick: Callable[[str, int, int], None] = lambda what, done, total: None,
    ) -> None:
        self.lm, self.hook, self.data = lm, hook, data
        self.cache, self.memory, self.batch_tokens = cache, memory, batch_tokens
        self.d_in = lm.hook_width(hook)
        self.device = str(lm.device)
        self.notes: list[str] = list(data.notes)
        "Warnings, once each; kept in every record made from here on."
        self.hooks_collected_together: tuple[str, ...] = ()
        "Other hooks of this model whose activations are cached in the same pass."
        self._tick = tick
        self._acts: dict[tuple[str, Keep], Acts] = {}
        self._wanted: dict[tuple[str, Keep], list[Pooling]] = {}
        self._pooled: tuple[tuple[str, Keep], Pooled] | None = None

    def acts(self, corpus: Corpus, keep: Keep = "all") -> Acts:
        """Activations of a corpus at the hook: from memory, from disk, or by one pass of the model."""
        key = (corpus.fingerprint, keep)
        if key not in self._acts:
            done = 0

            def tick(texts: int) -> None:
                nonlocal done
                done += texts
                self._tick(f"activations of {corpus.name}", done, len(corpus.texts))

            self._acts[key], notes = store.collect(
                self.lm,
                self.hook,
                corpus,
                also=self.hooks_collected_together,
                keep=keep,
                cache=self.cache,
                batch_tokens=self.batch_tokens,
                tick=tick,
            )
            self.note(*notes)
        return self._acts[key]

    def share(self, corpus: Corpus, how: Sequence[Pooling], keep: Keep = "all") -> None:
        """Says, before any SAE is scored, that a task will ask for these poolings of a corpus."""
        wanted = self._wanted.setdefault((corpus.fingerprint, keep), [])
        wanted += [h for h in how if h not in wanted]

    def pooled(self, sae: SAE, corpus: Corpus, how: Sequence[Pooling], keep: Keep = "all") -> Pooled:
        """Pooled codes of a corpus; where they fit in memory, one pass of the SAE serves all tasks that want them."""
        key = (corpus.fingerprint, keep)
        if self._pooled is not None:
            before, found = self._pooled
            if before == key and found.sae is sae and set(how) <= set(found.how):
                return found
        self._pooled = None  # before other tables are made
        acts = self.acts(corpus, keep)
        every: list[Pooling] = [*how, *(h for h in self._wanted.get(key, []) if h not in how)]
        if 4 * len(acts) * sae.d_sae * len(every) > self.memory:
            every = list(how)
        self._pooled = key, Pooled(sae, acts, every, self.memory, self.note)
        return self._pooled[1]

    def release(self) -> None:
        """Lets go of what belongs to the last SAE."""
        self._pooled = None

    def sample(self, texts: int = 512) -> Tensor:
        """Activations [tokens, d] float32 of evenly spaced texts of all the data, for baselines that look at them."""
        corpora = {c.fingerprint: c for c in self.data.texts}
        corpora |= {d.corpus.fingerprint: d.corpus for d in (*self.data.datasets, *self.data.concepts)}
        every = [text for corpus in corpora.values() for text in corpus.texts]
        chosen = [every[i] for i in np.linspace(0, len(every) - 1, min(texts, len(every))).round().astype(int)]
        return self.acts(Corpus("sample", tuple(dict.fromkeys(chosen)))).x.float()

    def note(self, *sentences: str) -> None:
        """Keeps warnings for the records, each once."""
        self.notes.extend(s for s in dict.fromkeys(sentences) if s not in self.notes)

    def site(self) -> SiteInfo:
        """The site as a record names it: all of it can change a number."""
        return SiteInfo(
            model=self.lm.name,
            revision=self.lm.revision,
            weights=self.lm.fingerprint()[:16],
            hook=self.hook,
            dtype=str(self.lm.dtype).removeprefix("torch."),
            token_rule=TOKEN_RULE,
        )
