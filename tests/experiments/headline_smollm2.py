"""The same candidates on a language model's SAEs: do they follow L0, training, or the seed of the training?

SAEs of SmolLM2-135M-Instruct, one folder each, called ARCHITECTURE_WIDTH_l0_L0[_seed_SEED]. `<|endoftext|>` stands
before every text and is left out of every statistic, as are tokens over ten times the median norm: this model's
tokenizer adds no BOS, and the first token of a text without one takes a norm a hundred times that of others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tabulate import tabulate

from saebench_lite.activations.acts import Acts, TokenChoice
from saebench_lite.activations.pooling import Pooling
from saebench_lite.api.context import EvalContext
from saebench_lite.baselines import matched_random
from saebench_lite.data.types import Corpus
from saebench_lite.errors import SaebenchError
from saebench_lite.files import write_text
from saebench_lite.loaders import native
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.report.numbers import MISSING, figure
from saebench_lite.saes.protocol import SAE
from saebench_lite.sources import bundled
from saebench_lite.stats.rank_correlation import spearman
from tests.experiments.headline_scores import POOLINGS, candidates

HOOK = "blocks.15.hook_resid_post"
BOS, BOS_ID = "<|endoftext|>", 0
LARGE = 10
"Times the median norm, above which a token is left out."
SEED = 1
MEASURED = 8192
"Tokens over which L0 is measured, at most."
NAME = re.compile(r"(?P<architecture>[a-z]+)_\d+_l0_(?P<l0>\d+)(_seed_\d+)?")


class Row(NamedTuple):
    """One SAE with its matched random dictionary; means over concepts."""

    name: str
    l0: float
    scores: dict[str, float]
    random: dict[str, float]

    @property
    def recipe(self) -> tuple[str, int]:
        """Architecture, and the L0 it was trained for."""
        found = NAME.fullmatch(self.name)
        if found is None:
            raise SaebenchError(f"SAE folder {self.name!r} is not called ARCHITECTURE_WIDTH_l0_L0; rename it")
        return found["architecture"], int(found["l0"])


class Context(EvalContext):
    """A site whose activations lack the tokens of very large norm."""

    def acts(self, corpus: Corpus, tokens: TokenChoice = "all") -> Acts:
        """Activations of a corpus."""
        return without_large(super().acts(corpus, tokens))


def without_large(acts: Acts) -> Acts:
    """Activations but for rows over LARGE times the median norm; a text that would have none left keeps all."""
    norm = acts.x.float().norm(dim=1)
    keep = norm <= LARGE * norm.median()

    def counted(rows: torch.Tensor) -> torch.Tensor:
        total = torch.cat([torch.zeros(1, dtype=torch.long), rows.long().cumsum(0)])
        return total[acts.offsets]

    empty = counted(keep).diff() == 0
    keep |= empty.repeat_interleave(acts.offsets.diff())
    return Acts(acts.x[keep], counted(keep))


def with_bos(model: LanguageModel) -> LanguageModel:
    """The model, with BOS before every text from now on; a special token, which no statistic reads."""
    from tokenizers.processors import TemplateProcessing

    model.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, BOS_ID)]
    )
    model.special = torch.cat([model.special, torch.tensor([BOS_ID])]).unique()
    return model


@torch.no_grad()
def row_of(name: str, sae: SAE, ctx: EvalContext) -> Row:
    """Scores of an SAE and of its matched random dictionary on the concepts of a site."""
    concepts = ctx.data.datasets

    def means(subject: SAE) -> dict[str, float]:
        tables: dict[Pooling, list[torch.Tensor]] = {p: [] for p in POOLINGS}
        for _, block in ctx.pooled(subject, concepts[0].corpus, POOLINGS).blocks():
            for p in POOLINGS:
                tables[p].append(block[p])
        whole: dict[Pooling, torch.Tensor] = {p: torch.cat(parts, 1) for p, parts in tables.items()}
        return {c: float(np.mean(v)) for c, v in candidates(whole, concepts, SEED).items()}

    x = ctx.acts(concepts[0].corpus).x[:MEASURED].float()
    l0 = (sae.encode(x) != 0).sum(1).float().mean().item()
    return Row(name, l0, means(sae), means(matched_random.derive(sae, ctx, 1)))


def page(rows: Sequence[Row]) -> str:
    """One line a candidate: how it moves with L0, training and seeds."""
    of: dict[str, list[Row]] = {}
    for r in rows:
        of.setdefault(r.recipe[0], []).append(r)
    sweeps = {a: some for a, some in of.items() if len({r.recipe[1] for r in some}) > 1}
    repeated = max(
        ([r for r in rows if r.recipe == recipe] for recipe in dict.fromkeys(r.recipe for r in rows)), key=len
    )
    same_l0 = [next(r for r in some if r.recipe[1] == repeated[0].recipe[1]) for some in of.values()]
    heads = ["candidate", *(f"{a}: {_levels(some)}" for a, some in sweeps.items()), "rho with L0"]
    heads += ["seed sd", "architecture sd", "mean", "mean random", "above random"]
    body = []
    for c in rows[0].scores:
        gap = [r.scores[c] > r.random[c] for r in rows]
        values = [_values(some, c) for some in sweeps.values()]
        body.append(
            [
                c,
                *values,
                ", ".join(f"{a} {_rho(some, c)}" for a, some in sweeps.items()),
                _sd([r.scores[c] for r in repeated]),
                _sd([r.scores[c] for r in same_l0]),
                figure(float(np.mean([r.scores[c] for r in rows]))),
                figure(float(np.mean([r.random[c] for r in rows]))),
                f"{sum(gap)} of {len(gap)}",
            ]
        )
    architecture, l0 = repeated[0].recipe
    return "\n".join(
        [
            "# The headline of probing on SmolLM2-135M",
            "",
            f"Made by `python -m tests.experiments.headline --smollm2 FOLDER`: {len(rows)} SAEs at `{HOOK}`, the"
            f" {len(bundled.load('', None).datasets)} bundled concepts, one seed of the split. Candidates as in"
            " [headline.md](headline.md).",
            "",
            "Score at each L0 of an architecture that was trained at several, and its Spearman correlation with L0"
            f" there; standard deviation over {len(repeated)} training seeds of {architecture} at L0 {l0}, and over"
            f" {len(same_l0)} architectures at that L0; how many SAEs are above a random dictionary of their width and"
            " L0. No truth is known here: this table tells what moves a score, not whether it is right.",
            "",
            tabulate(body, heads, tablefmt="github", disable_numparse=True),
            "",
        ]
    )


def _by_l0(some: Sequence[Row]) -> list[list[Row]]:
    return [[r for r in some if r.recipe[1] == level] for level in sorted({r.recipe[1] for r in some})]


def _levels(some: Sequence[Row]) -> str:
    return ", ".join(str(group[0].recipe[1]) for group in _by_l0(some))


def _values(some: Sequence[Row], candidate: str) -> str:
    return ", ".join(figure(float(np.mean([r.scores[candidate] for r in group]))) for group in _by_l0(some))


def _rho(some: Sequence[Row], candidate: str) -> str:
    value = spearman(np.array([r.scores[candidate] for r in some]), np.array([r.l0 for r in some]))
    return f"{value:.2f}" if np.isfinite(value) else MISSING


def _sd(values: Sequence[float]) -> str:
    return figure(float(np.std(values, ddof=1))) if len(values) > 1 else MISSING


def main(folder: Path, work: Path, out: Path) -> None:
    """Scores every SAE of a folder that has no stored row yet and writes the page."""
    rows, ctx = [], None
    for path in sorted(p for p in folder.iterdir() if p.is_dir()):
        stored = work / "smollm2" / f"{path.name}.json"
        if not stored.exists():
            if ctx is None:
                model = with_bos(LanguageModel.load("smollm2"))
                ctx = Context(model, HOOK, bundled.load("", None), cache=work / "smollm2-activations")
            write_text(stored, json.dumps(row_of(path.name, native.LOADER.load(path), ctx)))
            print(path.name, flush=True)
        rows.append(Row(*json.loads(stored.read_text())))
    write_text(out, page(rows))
