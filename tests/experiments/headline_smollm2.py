"""The same candidates on a language model's SAEs: do they follow L0, training, or the seed of the training?

SAEs of SmolLM2-135M-Instruct, one folder each, called ARCHITECTURE_WIDTH_l0_L0[_seed_SEED], and the soft-frozen ones of
`headline_controls`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import torch

from saebench_lite.activations.pooling import Pooling
from saebench_lite.api.context import EvalContext
from saebench_lite.baselines import matched_random
from saebench_lite.files import write_text
from saebench_lite.loaders import native
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.models.token_rule import TokenRule
from saebench_lite.saes.protocol import SAE
from saebench_lite.sources import bundled
from tests.experiments import headline_controls
from tests.experiments.headline_scores import POOLINGS, candidates
from tests.experiments.headline_smollm2_page import HOOK, Row, page

RULE = TokenRule(bos="<|endoftext|>")
"This model's tokenizer adds no BOS, and the first token of a text without one is an attention sink."
SEED = 1
MEASURED = 8192
"Tokens over which L0 is measured, at most."


@torch.no_grad()
def row_of(name: str, sae: SAE, ctx: EvalContext) -> Row:
    """Scores of an SAE and of its matched random dictionary on the concepts of a site."""
    concepts = ctx.data.datasets

    def scores(subject: SAE) -> dict[str, list[float]]:
        tables: dict[Pooling, list[torch.Tensor]] = {p: [] for p in POOLINGS}
        for _, block in ctx.pooled(subject, concepts[0].corpus, POOLINGS).blocks():
            for p in POOLINGS:
                tables[p].append(block[p])
        whole: dict[Pooling, torch.Tensor] = {p: torch.cat(parts, 1) for p, parts in tables.items()}
        return candidates(whole, concepts, SEED)

    x = ctx.acts(concepts[0].corpus).x[:MEASURED].float()
    l0 = (sae.encode(x) != 0).sum(1).float().mean().item()
    return Row(name, l0, scores(sae), scores(matched_random.derive(sae, ctx, 1)))


def main(folder: Path, work: Path, out: Path) -> None:
    """Scores every SAE of a folder, and each soft-frozen one, that has no stored row yet, and writes the page."""
    work = work / "smollm2"

    @cache
    def model() -> LanguageModel:
        return LanguageModel.load("smollm2", dtype="bfloat16", rule=RULE)

    @cache
    def site() -> EvalContext:
        return EvalContext(model(), HOOK, bundled.load("", None), cache=work / "activations")

    def row(name: str, load: Callable[[], SAE]) -> Row:
        stored = work / f"{name}.json"
        if not stored.exists():
            write_text(stored, json.dumps(row_of(name, load(), site())))
            print(name, flush=True)
        return Row(*json.loads(stored.read_text()))

    def rows() -> Iterator[Row]:
        for path in sorted(p for p in folder.iterdir() if p.is_dir()):
            yield row(path.name, lambda path=path: native.LOADER.load(path))
        for name in headline_controls.names():
            yield row(name, lambda name=name: headline_controls.trained(name, model(), HOOK, work / "controls"))

    write_text(out, page(list(rows())))
