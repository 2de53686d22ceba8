"""Parents and the one-token words below them: first letters of a vocabulary, or a user's own file."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any, NamedTuple

from saebench_lite.errors import SaebenchError


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


def vocabulary_words(tokenizer: Any) -> list[str]:
    """Vocabulary entries that are purely a-z letters after at most one leading space, sorted."""
    words = {tokenizer.convert_tokens_to_string([token]) for token in tokenizer.get_vocab()}
    return sorted(w for w in words if (bare := w.removeprefix(" ")) and all(c in string.ascii_letters for c in bare))


def first_letters(tokenizer: Any) -> Hierarchy:
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
