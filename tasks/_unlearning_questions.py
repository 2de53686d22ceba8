"""What unlearning asks: questions and texts of a domain to forget and of others to retain, bundled or from a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from saebench_lite.bundled import concept_texts, questions
from saebench_lite.data.sampling import even
from saebench_lite.data.types import Corpus
from saebench_lite.errors import SaebenchError, reason

LETTERS = ("A", "B", "C", "D")
SETS = ("forget", "retain")
FORMAT = '{"set": "forget" or "retain"} with "text", or with "question", 4 "choices" and "answer" (0 to 3)'


class Question(NamedTuple):
    """A prompt and four ways to go on, the right one first."""

    prompt: str
    options: tuple[str, ...]


Q = TypeVar("Q")
"A question, or its place among all."


class Domain(NamedTuple, Generic[Q]):
    """What is to be forgotten, and what is to stay."""

    name: str
    forget: list[Q]
    retain: list[Q]
    forget_texts: tuple[Corpus, ...]
    retain_texts: tuple[Corpus, ...]

    @property
    def corpora(self) -> tuple[Corpus, ...]:
        """Those to forget and those to retain."""
        return self.forget_texts + self.retain_texts


def bundled_domains(texts: int) -> list[Domain[Question]]:
    """Each topic with questions in turn as what is to be forgotten, with `texts` of its texts, evenly spaced.

    Questions of the other such topics, and texts of all other topics, are to stay.
    """
    asked = {topic: [Question(q[0], tuple(q[1:])) for q in listed] for topic, listed in questions().items()}
    corpora = {}
    for topic, parts in concept_texts().items():
        whole = [text for part in parts.values() for text in part]
        corpora[topic] = Corpus(f"unlearning {topic}", tuple(whole[i] for i in even(len(whole), texts)))
    return [
        Domain(
            topic,
            own,
            [q for other, listed in asked.items() if other != topic for q in listed],
            (corpora[topic],),
            tuple(corpus for other, corpus in corpora.items() if other != topic),
        )
        for topic, own in asked.items()
    ]


def domain_of_file(path: str, most: int) -> Domain[Question]:
    """The domain of a JSON Lines file of a user's own, with `most` texts of either side, evenly spaced.

    SaebenchError for a line that is not of the `FORMAT`.

    Choices are asked as in MMLU: the question, the lettered choices, "Answer:"; the answer is a letter.
    """
    asked: dict[str, list[Question]] = {name: [] for name in SETS}
    texts: dict[str, list[str]] = {name: [] for name in SETS}
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        why = f"unlearning.questions {path!r} cannot be read ({reason(error)}); check the path"
        raise SaebenchError(why) from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            row = _row(path, number, line)
            if "text" in row:
                texts[row["set"]].append(row["text"])
            else:
                asked[row["set"]].append(_lettered(row["question"], row["choices"], row["answer"]))
    for name in SETS:
        if not (asked[name] and texts[name]):
            lacking = "texts" if asked[name] else "questions"
            raise SaebenchError(f"unlearning.questions {path!r} has no {lacking} to {name}; a line is {FORMAT}")
    chosen = {name: [texts[name][i] for i in even(len(texts[name]), most)] for name in SETS}
    corpora = [(Corpus(f"unlearning {name}", tuple(dict.fromkeys(chosen[name]))),) for name in SETS]
    return Domain(Path(path).stem, asked["forget"], asked["retain"], *corpora)


def _row(path: str, number: int, line: str) -> dict[str, Any]:  # Any: of JSON types, checked here
    """A line of a file as `FORMAT` says."""
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict) or row.get("set") not in SETS or not (_is_text(row) or _is_question(row)):
        raise SaebenchError(f"unlearning.questions {path!r} line {number} is {line[:60]!r}; a line is {FORMAT}")
    return row


def _is_text(row: Mapping[str, object]) -> bool:
    return isinstance(row.get("text"), str) and bool(str(row["text"]).strip())


def _is_question(row: Mapping[str, object]) -> bool:
    choices, answer = row.get("choices"), row.get("answer")
    four = isinstance(choices, list) and len(choices) == len(LETTERS) and all(isinstance(c, str) for c in choices)
    right = type(answer) is int and answer in range(len(LETTERS))
    return "text" not in row and isinstance(row.get("question"), str) and four and right


def _lettered(question: str, choices: Sequence[str], answer: int) -> Question:
    listed = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=True))
    right, *wrong = LETTERS[answer:] + LETTERS[:answer]
    return Question(f"{question}\n{listed}\nAnswer:", (right, *wrong))
