"""Unlearning on a world: a domain is a feature with its descendants, and questions are what it makes likely next.

A question is a sample in which the domain's feature fires and no other domain's does, with four tokens of the world's
own readout. They are neighbours in the order of likelihood that the sample has without the domain; the right one is the
likeliest with it, and of many questions each place in that order is right in a quarter. So whoever takes away just the
domain is at chance, and who harms the sample in another way may be right or wrong. Texts are samples of the same kind,
and samples without any of the domains.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saebench_lite.activations.acts import Acts
from saebench_lite.api.context import EvalContext
from saebench_lite.data.types import Corpus
from saebench_lite.errors import NotApplicable
from saebench_lite.models.protocol import Prefix
from saebench_lite.models.tokens import TokenBatch
from saebench_lite.saes.protocol import SAE
from saebench_lite.tasks._unlearning_edits import Piece
from saebench_lite.tasks._unlearning_questions import Domain
from saebench_lite.tasks._world_truth import informed
from saebench_lite.worlds.model import WorldModel
from saebench_lite.worlds.toggle import family, frequent_heads, switched_off

DOMAINS = 5
"As many as the suite's own."
QUESTIONS = 80
"Of a domain."
TOKENS = 16
"Samples of a text."
NEUTRAL = 5
"Texts without any domain, for each text of a domain."
OPTIONS = 4
POOL = 4096
"Samples among which those of a domain are looked for at a time."
TRIES = 64
"Pools looked through at most."


class WorldQuestions:
    """Questions and texts of a world's domains."""

    def __init__(self, model: WorldModel, texts: int) -> None:
        """Questions and texts; NotApplicable for a world without two domains.

        Args:
            model: the world.
            texts: of a domain.
        """
        self.model = model
        heads = frequent_heads(model)
        parents = model.world.forest.parent.unique()
        with_children = heads[torch.isin(heads, parents)]
        self.features = (with_children if len(with_children) > 1 else heads)[:DOMAINS]
        "The feature of each domain. [m]"
        if len(self.features) < 2:
            raise NotApplicable(f"{model.name} has no two frequent features without a parent, to forget one of them")
        samples = [self._samples(f, texts * TOKENS + QUESTIONS, f"domain {f}") for f in self.features.tolist()]
        neutral = self._samples(None, NEUTRAL * texts * TOKENS, "neutral")
        self._truth = torch.cat([*(a for a, _ in samples), neutral[0]])
        self._x = torch.cat([*(x for _, x in samples), neutral[1]])
        self.asked = torch.cat([x[-QUESTIONS:] for _, x in samples])
        "Activations of the questions, domain after domain. [q, d]"
        self.options = torch.cat([self._options(f, *s) for f, s in zip(self.features.tolist(), samples, strict=True)])
        "The right one first. [q, 4]"
        self._acts: dict[str, Acts] = {}
        corpora = [
            self._corpus(f"domain {f}", x[:-QUESTIONS]) for f, (_, x) in zip(self.features, samples, strict=True)
        ]
        self.domains = self._domains(corpora, self._corpus("neutral", neutral[1]))

    def _samples(self, feature: int | None, n: int, what: str) -> tuple[Tensor, Tensor]:
        """(true features [n, N], activations [n, d]) with one domain's feature firing, or without any; on the CPU.

        A world whose feature is too rare repeats none of its samples: NotApplicable.
        """
        world, kept, found = self.model.world, [], 0
        others = self.features if feature is None else self.features[self.features != feature]
        for i in range(TRIES):
            a = world.features(POOL, "unlearning", what, i).cpu()
            a = switched_off(world, a if feature is None else a[a[:, feature] > 0], others)
            kept.append(a)
            found += len(a)
            if found >= n:
                a = torch.cat(kept)[:n]
                return a, world.activations(a.to(world.device), "unlearning", what).cpu()
        raise NotApplicable(
            f"{self.model.name} has {found} samples with feature {feature} among {TRIES * POOL}, not {n}"
        )

    def _options(self, feature: int, truth: Tensor, x: Tensor) -> Tensor:
        """Options [QUESTIONS, 4] of a domain's questions, its last samples, the right one first."""
        world, out = self.model.world, []
        gone = family(world, torch.tensor([feature]))
        x, taken = x[-QUESTIONS:], truth[-QUESTIONS:][:, gone] @ world.directions.cpu()[gone]
        order = self.model.to_logits(x - taken).argsort(dim=1, descending=True, stable=True)
        windows = order.unfold(1, OPTIONS, 1)  # [q, windows, 4]
        clean = self.model.to_logits(x)[:, None].expand(-1, windows.shape[1], -1).gather(2, windows)
        best, second = clean.topk(2).values.unbind(-1)
        place = torch.arange(QUESTIONS) % OPTIONS
        fits = clean.argmax(-1) == place[:, None]
        chosen = (best - second).masked_fill(~fits, -torch.inf).argmax(1)  # the question it knows best
        for window, right in zip(windows[torch.arange(QUESTIONS), chosen], place.tolist(), strict=True):
            out.append(torch.cat([window[right : right + 1], window[:right], window[right + 1 :]]))
        return torch.stack(out)

    def _corpus(self, name: str, x: Tensor) -> Corpus:
        """Texts of TOKENS samples each, and their activations beside it."""
        corpus = Corpus(name, tuple(f"{name} text {i}" for i in range(len(x) // TOKENS)))
        self._acts[corpus.fingerprint] = Acts(x, torch.arange(0, len(x) + 1, TOKENS))
        return corpus

    def _domains(self, corpora: list[Corpus], neutral: Corpus) -> list[Domain[int]]:
        out = []
        for i, corpus in enumerate(corpora):
            places = list(range(len(self.asked)))
            own = places[i * QUESTIONS : (i + 1) * QUESTIONS]
            rest = places[: i * QUESTIONS] + places[(i + 1) * QUESTIONS :]
            retain = tuple(c for c in [*corpora, neutral] if c is not corpus)
            out.append(Domain(corpus.name, own, rest, (corpus,), retain))
        return out

    def acts(self, corpus: Corpus) -> Acts:
        """Activations of texts."""
        return self._acts[corpus.fingerprint]

    def knowing(self, sae: SAE) -> SAE:
        """The SAE; an oracle that knows these samples too."""
        return informed(sae, self._x, lambda: self._truth)

    def pieces(self, ctx: EvalContext, places: list[int]) -> list[Piece]:
        """The questions, as of `_unlearning_edits.pieces_of`.

        Args:
            ctx: the site.
            places: which questions.
        """
        device, at = self.model.device, torch.tensor(places)
        x, options = self.asked[at].to(device)[:, None], self.options[at].to(device)
        on = torch.ones(len(at), 1, dtype=torch.bool, device=device)
        clean = self.model.to_logits(x[:, 0]).log_softmax(-1)
        batch, last = TokenBatch(on.long(), on, on), torch.zeros(len(at), dtype=torch.long, device=device)
        return [Piece(torch.arange(len(at)), batch, Prefix(x, None), last, options, clean)]
