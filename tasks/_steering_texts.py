"""A language model that writes under a direction: its prompts, and what it makes of them at a grid of strengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saebench_lite.activations.acts import Acts
from saebench_lite.activations.pooled_codes import Pooled
from saebench_lite.api.context import EvalContext
from saebench_lite.data.splits import without_repeats
from saebench_lite.data.types import Corpus, Labelled
from saebench_lite.errors import NotApplicable
from saebench_lite.metrics.steering import degenerate, output_score
from saebench_lite.models.generation import continued, likelihood
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.models.tokens import TokenBatch
from saebench_lite.saes.protocol import SAE
from saebench_lite.stats.seeds import rng
from saebench_lite.tasks._steering_figures import LENS, Concept, Outcome, Prompts

ROWS = 64
"Continuations written together at most."
NEUTRAL = "From my experience,"
"Prompt of the output score (Arad et al., arXiv:2505.20063)."


def datasets_of(ctx: EvalContext, most: int) -> list[Labelled]:
    """Data sets, evenly spaced, without texts that stand in several rows."""
    out, data = [], ctx.data.datasets
    for i in np.unique(np.linspace(0, len(data) - 1, min(most, len(data))).round().astype(int)):
        labelled, notes = without_repeats(data[i])
        ctx.note(*notes)
        out.append(labelled)
    return out


def prompts_of(
    lm: LanguageModel,
    datasets: Sequence[Labelled],
    count: int,
    length: int,
    written: int,
    temperature: float,
    seed: int,
) -> Prompts:
    """Openings of texts that hold none of the concepts; NotApplicable where there are too few that are long enough.

    Args:
        lm: the model.
        datasets: the concepts; texts of the first one's corpus are taken.
        count: how many prompts.
        length: their tokens, special ones in front not counted.
        written: tokens of a continuation.
        temperature: of sampling.
        seed: of the draw.
    """
    corpus = datasets[0].corpus
    own = [d for d in datasets if d.corpus.fingerprint == corpus.fingerprint]
    taken = np.concatenate([d.rows[d.positive] for d in own])
    free = np.setdiff1d(np.concatenate([d.rows for d in own]), taken)
    special, out = set(lm.special.tolist()), dict[int, list[int]]()
    for row in rng("steering prompts", seed).permutation(free).tolist():
        ids = lm.tokenize([corpus.texts[row]], context=None, long_texts="cut_right")[0]
        front = next((i for i, token in enumerate(ids) if token not in special), len(ids))
        opening = ids[: front + length]
        if len(opening) == front + length and not special & set(opening[front:]):
            out[row] = opening
        if len(out) == count:
            break
    if len(out) < count:
        raise NotApplicable(
            f"the corpus of dataset {datasets[0].name!r} has {len(out)} texts of {length} tokens without any of the"
            f" concepts, not the {count} asked for; lower prompts, prompt_tokens or concepts"
        )
    uniform = np.stack([rng("steering chance", seed, i).random(written) for i in range(count)])
    ids = torch.tensor(list(out.values()))
    return Prompts(ids, torch.from_numpy(uniform), np.array(list(out)), count // 2, temperature)


@dataclass(frozen=True)
class TextWriter:
    """A language model with its prompts; a `Writer`."""

    ctx: EvalContext
    lm: LanguageModel
    prompts: Prompts

    @property
    def count(self) -> int:
        """Prompts."""
        return len(self.prompts.ids)

    @property
    def chosen_on(self) -> int:
        """Prompts that choose the strength."""
        return self.prompts.chosen_on

    @property
    def device(self) -> str:
        """The site's."""
        return self.ctx.device

    def acts(self, corpus: Corpus) -> Acts:
        """The site's activations."""
        return self.ctx.acts(corpus)

    def pooled(self, sae: SAE, corpus: Corpus) -> Pooled:
        """Codes of the site's activations."""
        return self.ctx.pooled(sae, corpus, ("max",))

    def steered(self, directions: Tensor, sizes: Tensor) -> list[Outcome]:
        """The outcome of each direction.

        Args:
            directions: of norm 1. [k, d]
            sizes: norms at which they are added. [s]
        """
        lm, prompts, directions = self.lm, self.prompts, directions.cpu()
        k, s, p = len(directions), len(sizes), len(prompts.ids)
        direction, strength, prompt = (
            i.flatten() for i in torch.meshgrid(*map(torch.arange, (k, s, p)), indexing="ij")
        )
        ids, nll = [], []
        tables = (
            12 * lm.vocabulary * (prompts.ids.shape[1] + prompts.uniform.shape[1])
        )  # bytes of logits a continuation
        for part in torch.arange(k * s * p).split(max(1, min(ROWS, self.ctx.memory // tables))):
            added = directions[direction[part]] * sizes[strength[part], None]
            opening = prompts.ids[prompt[part]]
            new = continued(lm, opening, self.ctx.hook, added, prompts.uniform[prompt[part]], prompts.temperature)
            ids.append(new)
            nll.append(likelihood(lm, torch.cat([opening, new], 1), opening.shape[1]))
        new, likely = torch.cat(ids).view(k, s, p, -1), torch.cat(nll).view(k, s, p)
        texts = lm.tokenizer.batch_decode(new.flatten(0, 2).tolist(), skip_special_tokens=True)
        each = s * p
        return [Outcome(texts[i * each : (i + 1) * each], likely[i], degenerate(new[i])) for i in range(k)]

    def prompted(self, concept: Concept) -> Outcome:
        """The outcome of a prompt that names the concept before each opening, unsteered; likelihoods without it."""
        lm, prompts, name = self.lm, self.prompts, concept.labelled.name
        special = set(lm.special.tolist())
        words = f"A text about {name.replace('_', ' ').replace('/', ' ')}:"
        ids = lm.tokenize([words], context=None, long_texts="cut_right")[0]
        named = torch.tensor([token for i, token in enumerate(ids) if token not in special or i == 0])
        front = int(torch.isin(prompts.ids[0], lm.special).sum())
        opening = torch.cat([named.expand(len(prompts.ids), -1), prompts.ids[:, front:]], 1)
        nothing = torch.zeros(len(opening), self.ctx.d_in)
        new = continued(lm, opening, self.ctx.hook, nothing, prompts.uniform, prompts.temperature)
        nll = likelihood(lm, torch.cat([prompts.ids, new], 1), prompts.ids.shape[1])
        return Outcome(
            lm.tokenizer.batch_decode(new.tolist(), skip_special_tokens=True), nll[None], degenerate(new)[None]
        )

    @torch.no_grad()
    def output_scores(self, directions: Tensor, size: float) -> Tensor:
        """Output score of directions [k, d] of norm 1, added with a size to every token of the neutral prompt. [k]"""
        lm, hook = self.lm, self.ctx.hook
        ids = torch.tensor(lm.tokenize([NEUTRAL], context=None, long_texts="cut_right"), device=lm.device)
        out = []
        for part in directions.to(lm.device, lm.dtype).split(ROWS):
            on = torch.ones(len(part), ids.shape[1], dtype=torch.bool, device=lm.device)
            batch = TokenBatch(ids.expand(len(part), -1), on, on)
            prefix = lm.prefix(batch, hook)
            real = ~torch.isin(ids, lm.special.to(ids.device))[..., None]
            logits = lm.logits_with(batch, prefix, prefix.acts + size * part[:, None] * real, hook)[:, -1]
            one = TokenBatch(ids[:, :1].expand(len(part), -1), on[:, :1], on[:, :1])
            lens = lm.logits_from_final(one, part[:, None])[:, 0].topk(min(LENS, lm.vocabulary)).indices
            out.append(output_score(logits.float().softmax(-1), lens).cpu())
        return torch.cat(out)
