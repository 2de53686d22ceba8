"""Where a parent feature and its children show: words after worked examples, or texts with a hierarchy of their own."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Literal, NamedTuple, assert_never

import numpy as np
import torch
from torch import Tensor

from saebench_lite.activations.acts import Acts
from saebench_lite.api.context import EvalContext
from saebench_lite.data.types import Corpus, Parents
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.files import digest
from saebench_lite.models.tokens import vocabulary_words
from saebench_lite.stats.seeds import derive_seed, rng

Form = Literal["examples", "sentences"]
"Where a word is read: after worked examples of the question, or at the end of a sentence."
WHERE: dict[Form, str] = {"examples": "after worked examples", "sentences": "in sentences"}
CARRIERS = (
    "She looked up from her book and said",
    "At the end of the street there was a sign that read",
    "On the wall of the old house somebody had painted",
    "He went through all the pages until he found",
    "After a long silence the child answered",
    "Below the photograph in the newspaper it said",
    "The only thing I still remember from the lecture is",
    "When the door opened again, everybody shouted",
)
"Beginnings of sentences that any word may end and that speak of no letters."
SAMPLE = 128
"Words whose texts stand for all where tokens are estimated."
ONE_TOKEN_CODE = 1
"Grows with each change of what tells words of one token."


class Examples(NamedTuple):
    """One row an example, training rows first."""

    acts: Acts
    names: list[str]
    "Parents with enough examples."
    y: Tensor
    "[parents, n] bool"
    n_train: int
    too_few: list[str]
    "Parents without five examples in each part."
    hierarchy: str
    "What sentences call it."
    form: Form = "examples"


def planted(ctx: EvalContext, parents: Parents, seed: int, *, max_rows: int, test_share: float) -> Examples:
    """Examples of a hierarchy that comes with the data: each text's last token.

    Args:
        ctx: the site.
        parents: the hierarchy and its texts.
        seed: of the draw of rows.
        max_rows: texts at most.
        test_share: share of them that is for testing.
    """
    rows = rng("absorption rows", seed).permutation(len(parents.corpus.texts))[:max_rows]
    member = parents.member[:, rows]
    n_train = round(len(rows) * (1 - test_share))
    usable = [i for i, m in enumerate(member) if m[:n_train].sum() >= 5 and m[n_train:].sum() >= 5]
    if not usable:
        raise NotApplicable(f"no parent of {parents.name!r} has five training and five test texts")
    y = torch.as_tensor(member[usable], device=ctx.device)
    names = [parents.names[i] for i in usable]
    too_few = [name for name in parents.names if name not in names]
    acts = ctx.acts(parents.corpus, "last").take(rows)
    return Examples(acts, names, y, n_train, too_few, f"{parents.name} hierarchy")


def words(
    ctx: EvalContext, hierarchy: Hierarchy, seed: int, form: Form, *, max_words: int, test_share: float, examples: int
) -> Examples:
    """Examples of a hierarchy of words: texts that end at the word, the same words and parts in either form.

    Args:
        ctx: the site.
        hierarchy: words and their parents.
        seed: of the draw of words.
        form: what stands in front of a word.
        max_words: words at most.
        test_share: share of them that is for testing.
        examples: worked examples in a prompt.
    """
    chosen = rng("absorption words", seed).permutation(len(hierarchy.words))[:max_words]
    n_train = round(len(chosen) * (1 - test_share))
    match form:
        case "examples":
            prompts = word_prompts(hierarchy, chosen, n_train, examples, seed)
        case "sentences":
            prompts = [sentence(hierarchy.words[i]) for i in chosen]
        case _:
            assert_never(form)
    expected = [hierarchy.words[i] for i in chosen]
    asked = [ONE_TOKEN_CODE, digest([expected, prompts])]
    read = ctx.prepared("one-token words", asked, lambda: {"single": torch.tensor(_one_token(ctx, expected, prompts))})
    single = read["single"].numpy()
    n_train = int(single[:n_train].sum())
    chosen = chosen[single]
    if n_train < 50 or len(chosen) - n_train < 10:
        raise NotApplicable(f"only {len(chosen)} words of the {hierarchy.name} hierarchy are one token of this model")
    prompts = [p for p, s in zip(prompts, single, strict=True) if s]
    owners = [hierarchy.parents[i] for i in chosen]
    seen, tested = Counter(owners[:n_train]), Counter(owners[n_train:])
    parents = sorted(p for p in seen if seen[p] >= 5 and tested[p] >= 5)
    if not parents:
        raise NotApplicable(f"no parent of the {hierarchy.name} hierarchy has five training and five test words")
    y = torch.tensor([[o == p for o in owners] for p in parents], device=ctx.device)
    too_few = sorted({*hierarchy.parents} - {*parents})
    acts = _read(ctx, f"{hierarchy.name}, seed {seed}", prompts, form)
    told = f"{hierarchy.name} hierarchy {WHERE[form]}"
    return Examples(acts, parents, y, n_train, too_few, told, form)


def words_tokens(
    ctx: EvalContext, hierarchy: Hierarchy, form: Form, seeds: int, *, max_words: int, examples: int
) -> int:
    """Estimated tokens of the texts of `words`, from `SAMPLE` of them: those of one token or not.

    Args:
        ctx: the site.
        hierarchy: words and their parents.
        form: what stands in front of a word.
        seeds: of how many draws; sentences with the same words are read once.
        max_words: words at most.
        examples: worked examples in a prompt.
    """
    count = min(max_words, len(hierarchy.words))
    if not count:
        return 0
    chosen = rng("absorption words", 0).permutation(len(hierarchy.words))[:SAMPLE]
    if form == "examples":
        texts = word_prompts(hierarchy, chosen, len(chosen), examples, 0)
    else:
        texts = [sentence(hierarchy.words[i]) for i in chosen]
    draws = 1 if form == "sentences" and count == len(hierarchy.words) else seeds
    sample = ctx.estimated_tokens(Corpus("sample of words", tuple(texts), "cut_left"))
    return round(sample / len(texts) * count) * draws


def _read(ctx: EvalContext, name: str, prompts: list[str], form: Form) -> Acts:
    """Activations at the last token of each prompt.

    Sentences go through the model in alphabetical order: seeds that draw the same words then share one pass.
    """
    if form == "examples":
        return ctx.acts(Corpus(name, tuple(prompts), "cut_left"), "last")
    order = np.argsort(np.array(prompts), kind="stable")
    acts = ctx.acts(Corpus(f"{name}, in sentences", tuple(prompts[i] for i in order), "cut_left"), "last")
    return acts.take(np.argsort(order))


def word_prompts(hierarchy: Hierarchy, chosen: np.ndarray, n_train: int, examples: int, seed: int) -> list[str]:
    """A prompt per chosen word, ending at the word; examples come from the word's own part (train or test).

    Args:
        hierarchy: words and their parents.
        chosen: index of each word, training words first [n].
        n_train: how many are training words.
        examples: worked examples in a prompt.
        seed: of the draw of examples.
    """
    draw = rng("absorption examples", seed)
    question = hierarchy.template
    prompts = []
    for i, word in enumerate(chosen):
        part = chosen[:n_train] if i < n_train else chosen[n_train:]
        picked = draw.choice(len(part), size=min(examples + 1, len(part)), replace=False)
        others = [part[j] for j in picked if part[j] != word][:examples]
        lines = [question.format(word=hierarchy.words[o]) + " " + hierarchy.parents[o] for o in others]
        prompts.append(
            "".join(f"\n{line}" for line in lines) + "\n" + question.split("{word}")[0] + hierarchy.words[word]
        )
    return prompts


def sentence(word: str) -> str:
    """A short sentence that ends at the word, of `CARRIERS` always the same one for the same word.

    A word without a leading space, as it stands in a vocabulary, follows an opening quotation mark.
    """
    carrier = CARRIERS[derive_seed("absorption carrier", word) % len(CARRIERS)]
    return carrier + (word if word.startswith(" ") else f' "{word}')


def _one_token(ctx: EvalContext, expected: list[str], prompts: list[str]) -> list[bool]:
    """Which words end their prompt as exactly one token."""
    special = set(ctx.lm.special.tolist())
    tokenizer = ctx.lm.tokenizer
    last = [
        next(t for t in reversed(ids) if t not in special)
        for ids in ctx.lm.tokenize(prompts, context=None, long_texts="cut_left")
    ]
    strings = [tokenizer.convert_tokens_to_string([t]) for t in tokenizer.convert_ids_to_tokens(last)]
    return [string.strip() == word.strip() for string, word in zip(strings, expected, strict=True)]


class Hierarchy(NamedTuple):
    """Words with their parents, and how a worked example of one reads."""

    name: str
    words: list[str]
    "Each as it stands in a text, with its leading space where it has one."
    parents: list[str]
    "Parent of each word."
    template: str
    "With {word}; what follows the word is the question."


LETTER_TEMPLATE = "{word} has the first letter:"


def first_letters(tokenizer: Any) -> Hierarchy:  # Any: a Hugging Face tokenizer, which only rooms of models name
    """Every alphabetic vocabulary word under its first letter (Chanin et al., arXiv:2409.14507)."""
    words = vocabulary_words(tokenizer)
    return Hierarchy("first letter", words, [w.strip()[0].upper() for w in words], LETTER_TEMPLATE)


def from_file(path: str) -> Hierarchy:
    """A JSON file {"template": "{word} is a kind of:", "children": {parent: [word, ...]}}; else SaebenchError."""
    try:
        content = json.loads(Path(path).read_text())
        template, children = content["template"], content["children"]
        pairs = [(str(word), str(parent)) for parent, words in children.items() for word in words]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        form = '{"template": "{word} is a kind of:", "children": {"parent": ["word", ...]}}'
        raise SaebenchError(f"hierarchy {path!r} cannot be read ({error!r}); it must be JSON like {form}") from error
    if "{word}" not in template or len(children) < 2:
        raise SaebenchError(f"hierarchy {path!r} needs a template with {{word}} and at least two parents")
    return Hierarchy(Path(path).stem, [w for w, _ in pairs], [p for _, p in pairs], template)
