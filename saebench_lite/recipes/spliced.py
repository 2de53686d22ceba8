"""Texts through a model whose activation at a hook is replaced: what trainings through the model share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property

import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.models.protocol import Model
from saebench_lite.models.tokens import TokenBatch
from saebench_lite.recipes.text_stream import Place

TEXTS_A_PASS = 256
"Texts that are tokenised and sorted into batches together."
Adapted = Callable[[], AbstractContextManager[object]]
"Within what it gives, the model's own weights are adapted."


def both_alike(error: Tensor, divergence: Tensor) -> Tensor:
    """(error + a divergence) / 2 with a such that both count alike, a carrying no gradient (arXiv:2503.17272). []"""
    return 0.5 * (error + (error / (divergence + 1e-8)).detach() * divergence)


class Spliced:
    """A batch of texts, its activations at a hook, and what the model predicts with others in their place."""

    def __init__(self, lm: Model, hook: str, batch: TokenBatch, adapted: Adapted = nullcontext) -> None:
        """Reads the activations.

        Args:
            lm: a model that predicts next tokens.
            hook: where its activation is replaced, at the positions that the rule of the site reads.
            batch: texts.
            adapted: holds while the model goes on from a replaced activation.
        """
        self.lm, self.hook, self.batch, self.adapted = lm, hook, batch, adapted
        self.prefix = lm.prefix(batch, hook)
        self.read = lm.positions(hook).read(batch.real, self.prefix.acts)
        self.x = self.prefix.acts[self.read].float()
        "Activations at those positions. [n, d] float32"

    @cached_property
    def clean(self) -> Tensor:
        """The model's own log-probabilities after each real token. [t, V] float32"""
        with torch.no_grad():
            return self.lm.logits(self.batch)[self.batch.real].float().log_softmax(-1)

    def logits(self, rows: Tensor) -> Tensor:
        """Logits [b, L, V] with rows [n, d] in the place of `x`; gradients reach the rows where they are on."""
        replacement = self.prefix.acts.float().masked_scatter(self.read[..., None], rows)
        with self.adapted():
            return self.lm.logits_with(
                self.batch, self.prefix, replacement, self.hook, gradients=torch.is_grad_enabled()
            )

    def divergence(self, rows: Tensor) -> Tensor:
        """KL(model || model with rows [n, d] in the place of `x`) in nats, mean over real tokens. []"""
        patched = self.logits(rows)[self.batch.real].float().log_softmax(-1)
        return (self.clean.exp() * (self.clean - patched)).sum(-1).mean()

    @torch.no_grad()
    def cross_entropies(self, rows: Tensor) -> tuple[float, float, int]:
        """(sum without, sum with rows [n, d], number) of next-token losses of real tokens, in nats."""
        counts = self.batch.real[:, :-1] & self.batch.attention[:, 1:]
        targets = self.batch.ids[:, 1:][counts]
        clean, spliced = (
            torch.nn.functional.cross_entropy(logits[:, :-1][counts].float(), targets, reduction="sum").item()
            for logits in (self.lm.logits(self.batch), self.logits(rows))
        )
        return clean, spliced, len(targets)


class SplicedStream:
    """Batches of whole texts in random order, without end; a function of model, texts, size and seed alone."""

    def __init__(
        self,
        lm: Model,
        hook: str,
        texts: Sequence[str],
        *,
        batch: int,
        seed: int = 0,
        adapted: Adapted = nullcontext,
    ) -> None:
        """A stream from its first batch on.

        Args:
            lm: a model that predicts next tokens.
            hook: where its activation is replaced.
            texts: to read, each once an epoch; equal ones count once.
            batch: padded tokens of a batch, at most (one text at least).
            seed: of the order.
            adapted: as `Spliced` takes it.
        """
        if not lm.is_causal:
            raise SaebenchError(f"{lm.name} predicts no next tokens; training through the model needs one that does")
        if not texts:
            raise SaebenchError("there are no texts to train on; name a source that holds some")
        self.lm, self.hook, self.texts = lm, hook, tuple(dict.fromkeys(texts))
        self.batch, self.seed, self.adapted = batch, seed, adapted

    def batches(self, place: Place | None = None) -> Iterator[tuple[Spliced, Place]]:
        """Batches from a place on, each with the place after it; SaebenchError where no text has a real token."""
        place, silent = place or Place(), 0
        while silent < len(self.texts):
            made, read = self._pass(place)
            silent = 0 if made else silent + read
            for number in range(place.taken, len(made)):
                after = Place(place.epoch, place.text, number + 1)
                yield Spliced(self.lm, self.hook, made[number], self.adapted), after
            last = place.text + read >= len(self.texts)
            place = Place(place.epoch + 1) if last else Place(place.epoch, place.text + read)
        raise SaebenchError("the texts hold no real token to train on; name a source with words")

    def _pass(self, place: Place) -> tuple[list[TokenBatch], int]:
        """The batches of the pass begun at a place, shuffled, and how many texts it reads."""
        seed = self.seed * 1_000_003 + place.epoch
        order = torch.randperm(len(self.texts), generator=torch.Generator().manual_seed(seed)).tolist()
        chosen = [self.texts[i] for i in order[place.text : place.text + TEXTS_A_PASS]]
        ids = self.lm.tokenize(chosen, context=self.lm.context, long_texts="cut_right")
        made = [batch for _, batch in self.lm.batches(ids, max_tokens=self.batch) if batch.real.any()]
        shuffle = torch.Generator().manual_seed(seed * 10_000_019 + place.text + 1)
        return [made[i] for i in torch.randperm(len(made), generator=shuffle).tolist()], len(chosen)
