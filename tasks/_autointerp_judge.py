"""Detection: a judge explains a latent from examples, then says of windows it has not seen whether that fits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.metrics.interpretability import balanced_accuracy
from saebench_lite.models.judge import Judge
from saebench_lite.progress import logger
from saebench_lite.tasks._autointerp_windows import Sample

EXPLAIN = (
    "Texts of group A:\n{firing}\n\nTexts of group B:\n{silent}\n\nWhat do the texts of group A have in common that"
    " those of group B do not have: a subject, a word, a form? Answer with one short phrase and nothing else."
)
DETECT = 'Description: {explanation}\nText: "{text}"\nDoes the description fit the text? Answer with yes or no only.'
LONGEST = 300
"Characters of an explanation at most."
VERDICTS = {"yes": 1.0, "no": 0.0}


class Case(NamedTuple):
    """A latent that a judge is asked about."""

    examples: Sample
    scored: Sample


class Verdict(NamedTuple):
    """The figures of a latent."""

    detection: float
    detection_other: float
    "NaN where there is no other latent."
    detection_unclear: float


def judged(cases: Sequence[Case], texts: tuple[str, ...], judge: Judge, subject: str) -> list[Verdict]:
    """The verdict on each case.

    Args:
        cases: latents with their windows.
        texts: all windows.
        judge: who is asked.
        subject: name of the SAE, for the line that says how many questions there are.
    """
    questions = sum(2 * len(case.scored.rows) for case in cases) if len(cases) > 1 else len(cases[0].scored.rows)
    logger.warning(f"autointerp of {subject}: {len(cases)} explanations, then {questions} questions to the judge")
    told = [tidy(answer) for answer in judge.ask([explaining(case.examples, texts) for case in cases])]
    prompts = [detecting(told[place], case.scored, texts) for place, case in enumerate(cases)]
    if len(cases) > 1:
        prompts += [detecting(told[place - 1], case.scored, texts) for place, case in enumerate(cases)]
    answers = iter(judge.ask([prompt for listed in prompts for prompt in listed]))
    says = [torch.tensor([verdict_of(next(answers)) for _ in listed]) for listed in prompts]
    truth = [torch.from_numpy(case.scored.firing) for case in cases]
    return [
        Verdict(
            balanced_accuracy(says[place], truth[place]).item(),
            balanced_accuracy(says[len(cases) + place], truth[place]).item() if len(cases) > 1 else float("nan"),
            _unclear(says[place]),
        )
        for place in range(len(cases))
    ]


def explaining(examples: Sample, texts: tuple[str, ...]) -> str:
    """The prompt that asks for an explanation."""
    lines = [f"- {one_line(texts[row])}" for row in examples.rows]
    half = len(lines) // 2
    return EXPLAIN.format(firing="\n".join(lines[:half]), silent="\n".join(lines[half:]))


def detecting(explanation: str, scored: Sample, texts: tuple[str, ...]) -> list[str]:
    """A prompt for each scored window that asks whether an explanation fits it."""
    return [DETECT.format(explanation=explanation, text=one_line(texts[row])) for row in scored.rows]


def tidy(answer: str) -> str:
    """An explanation as one line, cut where a judge did not stop."""
    return one_line(answer)[:LONGEST] or "nothing in common"


def one_line(text: str) -> str:
    """The text with every run of blanks as one space."""
    return " ".join(text.split())


def verdict_of(answer: str) -> float:
    """1 for yes, 0 for no as the first word of an answer, else NaN."""
    word = re.search(r"[^\W\d_]+", answer)
    return VERDICTS.get(word[0].casefold(), float("nan")) if word else float("nan")


def _unclear(says: Tensor) -> float:
    return says.isnan().double().mean().item()
