"""What a model is asked about entities, and whether it knows the answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebench_lite.models.protocol import Model
from saebench_lite.tasks._ravel_files import Entities

OPENS = ('"', "'", "(", "[", " ", "\n", "/")
"Ends of a prompt after which a value follows without a space."


class Fact(NamedTuple):
    """A prompt about an attribute of an entity, as token ids, with the value that is right."""

    attribute: str
    entity: str
    value: str
    prompt: tuple[int, ...]
    place: int
    "Of the entity's last token."
    text: str
    "The prompt."


def draw_facts(
    lm: Model, kind: Entities, attribute: str, split: str, most: int, draw: np.random.Generator
) -> list[Fact]:
    """Facts of entities and prompts of a split, each entity in a prompt of its own draw.

    Those whose entity does not end where a token ends are left out.

    Args:
        lm: whose tokens they are.
        kind: entities and prompts.
        attribute: what is asked.
        split: train, val or test, of entities and prompts.
        most: entities.
        draw: chooses entities and prompts.
    """
    prompts = kind.prompts_of(attribute, split)
    entities = [e for e in kind.entities(split) if kind.attributes[e].get(attribute)]
    if not prompts or not entities:
        return []
    chosen = [str(e) for e in draw.permutation(entities)[:most]]
    made = (fact(lm, kind.attributes[e][attribute], attribute, e, str(draw.choice(prompts))) for e in chosen)
    return [f for f in made if f is not None]


def fact(lm: Model, value: str, attribute: str, entity: str, prompt: str) -> Fact | None:
    """The fact of an entity in a prompt; None where the entity's last token reaches beyond it.

    Args:
        lm: whose tokens they are.
        value: the right answer.
        attribute: what is asked.
        entity: about whom.
        prompt: with %s for the entity.
    """
    head, text = prompt[: prompt.index("%s")] + entity, prompt.replace("%s", entity)
    first, whole = lm.tokenize([head, text], context=None, long_texts="cut_right")
    if whole[: len(first)] != first or len(whole) <= len(first):
        return None
    return Fact(attribute, entity, value, tuple(whole), len(first) - 1, text)


def answer(lm: Model, of: Fact, value: str) -> tuple[int, ...] | None:
    """Token ids of a value behind a fact's prompt; None where they change the prompt's own tokens."""
    text = of.text + (value if of.text.endswith(OPENS) else f" {value}")
    (whole,) = lm.tokenize([text], context=None, long_texts="cut_right")
    n = len(of.prompt)
    return tuple(whole[n:]) if tuple(whole[:n]) == of.prompt and len(whole) > n else None


def known(lm: Model, facts: Sequence[Fact], batch_tokens: int) -> list[bool]:
    """Whether the model's most likely tokens after each prompt are those of its value.

    Args:
        lm: the model.
        facts: what it is asked.
        batch_tokens: padded tokens of a batch.
    """
    answers = [answer(lm, f, f.value) for f in facts]
    asked = [i for i, a in enumerate(answers) if a is not None]
    ids = [[*facts[i].prompt, *(answers[i] or ())] for i in asked]
    out = [False] * len(facts)
    for rows, batch in lm.batches(ids, max_tokens=batch_tokens):
        most_likely = lm.logits(batch).argmax(-1)
        starts = torch.tensor([len(facts[asked[r]].prompt) for r in rows])
        lengths = torch.tensor([len(ids[r]) for r in rows])
        for r, right in zip(rows, answered(most_likely, batch.ids, starts, lengths).tolist(), strict=True):
            out[asked[r]] = right
    return out


def answered(most_likely: Tensor, ids: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
    """Whether each text goes on, from `starts` to its length, as the most likely tokens say. [b] bool

    Args:
        most_likely: next token at each position. [b, L]
        ids: tokens. [b, L]
        starts: first token of each answer. [b]
        lengths: tokens of each text. [b]
    """
    place = torch.arange(1, ids.shape[1], device=ids.device)
    asked = (place >= starts.to(ids.device)[:, None]) & (place < lengths.to(ids.device)[:, None])
    return ((most_likely[:, :-1] == ids[:, 1:]) | ~asked).all(1)


def at_entities(lm: Model, hook: str, facts: Sequence[Fact], batch_tokens: int) -> Tensor:
    """Activations [n, d] float32 at the hook, at the last token of each fact's entity.

    Args:
        lm: the model.
        hook: where.
        facts: whose entities.
        batch_tokens: padded tokens of a batch.
    """
    out = torch.empty(len(facts), lm.hook_width(hook), device=lm.device)
    for rows, batch in lm.batches([f.prompt for f in facts], max_tokens=batch_tokens):
        places = torch.tensor([facts[r].place for r in rows], device=lm.device)
        acts = lm.collect(batch, [hook])[hook]
        out[rows] = acts[torch.arange(len(rows), device=lm.device), places].float()
    return out


def pairs_of(facts: Sequence[Fact], draw: np.random.Generator) -> Iterator[tuple[Fact, Fact]]:
    """Ordered pairs of facts in random order."""
    order = [(i, j) for i in range(len(facts)) for j in range(len(facts)) if i != j]
    for k in draw.permutation(len(order)):
        i, j = order[k]
        yield facts[i], facts[j]
