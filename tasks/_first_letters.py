"""Where a parent feature and its children show: words after worked examples, or texts with a hierarchy of their own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
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
from saebench_lite.models.branches import MOST
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
GROUP, GROUPS = 64, 20
"Words of a group, about, and groups there are at least, as far as the number of worked examples allows."
SAMPLE = 4
"Groups whose texts stand for all where tokens are estimated."
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

    Words and texts are the same for every seed, so that one pass of the model serves all; a seed draws which groups of
    words are for testing.

    Args:
        ctx: the site.
        hierarchy: words and their parents.
        seed: of the draw of test words.
        form: what stands in front of a word.
        max_words: words at most.
        test_share: share of the groups that is for testing, one at least.
        examples: worked examples in a prompt.
    """
    groups = word_groups(len(hierarchy.words), max_words, examples)
    chosen = np.concatenate(groups)
    match form:
        case "examples":
            prompts = word_prompts(hierarchy, groups, examples)
        case "sentences":
            prompts = [sentence(hierarchy.words[i]) for i in chosen]
        case _:
            assert_never(form)
    expected = [hierarchy.words[i] for i in chosen]
    asked = [ONE_TOKEN_CODE, digest([expected, prompts])]
    read = ctx.prepared("one-token words", asked, lambda: {"single": _one_token(ctx, expected, prompts)})
    single = read["single"].numpy()
    tested = rng("absorption words", seed).permutation(len(groups))[: _count(test_share, len(groups))]
    for_test = np.concatenate([np.full(len(group), i in tested) for i, group in enumerate(groups)])[single]
    n_train = int((~for_test).sum())
    if n_train < 50 or len(for_test) - n_train < 10:
        raise NotApplicable(f"only {len(for_test)} words of the {hierarchy.name} hierarchy are one token of this model")
    order = np.argsort(for_test, kind="stable")
    owners = [hierarchy.parents[i] for i in chosen[single][order]]
    seen, held_out = Counter(owners[:n_train]), Counter(owners[n_train:])
    parents = sorted(p for p in seen if seen[p] >= 5 and held_out[p] >= 5)
    if not parents:
        raise NotApplicable(f"no parent of the {hierarchy.name} hierarchy has five training and five test words")
    y = torch.tensor([[o == p for o in owners] for p in parents], device=ctx.device)
    too_few = sorted({*hierarchy.parents} - {*parents})
    told = f"{hierarchy.name} hierarchy {WHERE[form]}"
    texts = tuple(p for p, s in zip(prompts, single, strict=True) if s)
    acts = ctx.acts(Corpus(f"{hierarchy.name} {WHERE[form]}", texts, "cut_left"), "last").take(order)
    return Examples(acts, parents, y, n_train, too_few, told, form)


def word_groups(n: int, max_words: int, examples: int) -> list[np.ndarray]:
    """Of n words at most `max_words`, in two random groups or more; worked examples come from a word's own group.

    A group stands in one part, training or test, so that no example crosses over, whichever groups a seed tests.

    Args:
        n: words there are.
        max_words: words at most.
        examples: worked examples that each half of a group must have for the words of the other.
    """
    chosen = rng("absorption words").permutation(n)[:max_words]
    size = max(1, 2 * examples, min(GROUP, len(chosen) // GROUPS))
    return np.array_split(chosen, max(2, len(chosen) // size))


def _count(share: float, n: int) -> int:
    """About a share of n, and of both parts one at least."""
    return min(max(1, round(share * n)), n - 1)


def words_tokens(ctx: EvalContext, hierarchy: Hierarchy, form: Form, *, max_words: int, examples: int) -> int:
    """Estimated tokens that the model reads of the texts of `words`, of one token or not.

    Args:
        ctx: the site.
        hierarchy: words and their parents.
        form: what stands in front of a word.
        max_words: words at most.
        examples: worked examples in a prompt.
    """
    groups = word_groups(len(hierarchy.words), max_words, examples)
    count = sum(map(len, groups))
    if not count:
        return 0
    if form == "examples":
        texts, beginnings = word_prompts(hierarchy, groups[:SAMPLE], examples), 2 * len(groups)
    else:
        texts, beginnings = [sentence(hierarchy.words[i]) for i in np.concatenate(groups[:SAMPLE])], 2 * len(CARRIERS)
    each = ctx.estimated_tokens(Corpus("sample of words", tuple(texts), "cut_left")) / len(texts)
    if ctx.lm.shared_beginnings() < each:
        return round(each * count)
    rows = max(beginnings, count // MOST)
    return round((each - 1) * rows) + count


def word_prompts(hierarchy: Hierarchy, groups: Sequence[np.ndarray], examples: int) -> list[str]:
    """A prompt per word, group by group, that ends at the word.

    All words of half a group follow the same worked examples, drawn from its other half, so that a causal model reads
    those once for all of them.

    Args:
        hierarchy: words and their parents.
        groups: indices of words.
        examples: worked examples in a prompt; fewer in a group whose halves have fewer.
    """
    draw, question = rng("absorption examples"), hierarchy.template
    prompts = []
    for group in groups:
        one, two = np.array_split(group, 2)
        for half, others in ((one, two), (two, one)):
            shown = draw.choice(others, size=min(examples, len(others)), replace=False)
            lines = [f"\n{question.format(word=hierarchy.words[o])} {hierarchy.parents[o]}" for o in shown]
            beginning = "".join(lines) + "\n" + question.split("{word}")[0]
            prompts += [beginning + hierarchy.words[word] for word in half]
    return prompts


def sentence(word: str) -> str:
    """A short sentence that ends at the word, of `CARRIERS` always the same one for the same word.

    A word without a leading space, as it stands in a vocabulary, follows an opening quotation mark.
    """
    carrier = CARRIERS[derive_seed("absorption carrier", word) % len(CARRIERS)]
    return carrier + (word if word.startswith(" ") else f' "{word}')


def _one_token(ctx: EvalContext, expected: list[str], prompts: list[str]) -> Tensor:
    """Which words end their prompt as exactly one token. [words] bool"""
    special = set(ctx.lm.special.tolist())
    tokenizer = ctx.lm.tokenizer
    last = [
        next(t for t in reversed(ids) if t not in special)
        for ids in ctx.lm.tokenize(prompts, context=None, long_texts="cut_left")
    ]
    strings = [tokenizer.convert_tokens_to_string([t]) for t in tokenizer.convert_ids_to_tokens(last)]
    return torch.tensor([s.strip() == w.strip() for s, w in zip(strings, expected, strict=True)], dtype=torch.bool)


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
    if empty := [parent for parent, words in children.items() if not words]:
        raise SaebenchError(f"hierarchy {path!r} has no words under {empty[0]!r}; give it some, or leave it out")
    return Hierarchy(Path(path).stem, [w for w, _ in pairs], [p for _, p in pairs], template)
