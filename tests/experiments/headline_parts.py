"""The parts of the headline experiment: panels are trained, sites scored; what is on disk is read."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from saebench_lite.api.context import EvalContext
from saebench_lite.audit import panel
from saebench_lite.baselines import matched_random, oracle
from saebench_lite.files import write_text
from saebench_lite.recipes.recipe import Architecture
from saebench_lite.saes.protocol import SAE, meta_of
from saebench_lite.worlds.concepts import build
from saebench_lite.worlds.model import HOOK, WorldModel
from tests.experiments.headline_scores import POOLINGS, candidates, truths

WORLDS = ("secret-2001", "secret-2002")
"Drawn for this experiment; no choice was made on them."
ARCHITECTURES: tuple[Architecture, ...] = (
    "relu",
    "topk",
    "batchtopk",
    "jumprelu",
    "gated",
    "matryoshka",
)
"Matching pursuit takes as long to train and to encode as all others together."
SPARSITIES = (0.5, 1.0, 2.0)
STEPS, BATCH = 800, 512
SEEDS = (1, 2)
"Of the split into training and test rows; random dictionaries have the first only."
CONCEPTS = 40
"At most, evenly over all kinds."


class Length(NamedTuple):
    """How long the texts of a world are."""

    tokens: int
    persistence: float
    texts: int

    def of(self, world: str) -> str:
        """The world with texts of this length."""
        return f"{world},tokens={self.tokens},persistence={self.persistence}"


LENGTHS = (
    Length(4, 0.0, 4096),
    Length(16, 0.5, 2048),
    Length(64, 0.5, 2048),
    Length(16, 0.0, 4096),
    Length(64, 0.0, 2048),
)
"In order of importance."


class Row(NamedTuple):
    """One dictionary at one site."""

    name: str
    architecture: str
    level: int
    "L0 its recipe asked for; 0 for the oracle."
    control: bool
    "Whether it is the matched random dictionary of the SAE of this name."
    scores: dict[str, list[float]]
    "{candidate: mean over concepts, one a seed}"


class Site(NamedTuple):
    """All rows of a world at one length of text."""

    world: str
    length: Length
    concepts: int
    rows: list[Row]


def panel_of(world: str, work: Path) -> dict[str, SAE]:
    """The world's SAEs by name, trained if they are not on disk."""
    spec = panel.PanelSpec(
        world=world, steps=STEPS, batch=BATCH, architectures=ARCHITECTURES, sparsities=SPARSITIES, snapshots=()
    )
    return {path.name: panel.load(path) for path in panel.build(spec, work / f"panel-{world}")}


def truths_of(world: str, work: Path) -> dict[str, dict[str, float]]:
    """{SAE: truths} of a world's panel."""
    path = work / f"truth-{world}.json"
    if not path.exists():
        model = WorldModel.load(world)
        write_text(path, json.dumps({name: truths(sae, model) for name, sae in panel_of(world, work).items()}))
    return json.loads(path.read_text())


def site_of(world: str, length: Length, work: Path) -> Site:
    """Rows of all SAEs, their matched random dictionaries and the oracle; each subject's is stored once computed."""
    folder = work / f"{world}-{length.tokens}-{length.persistence}-{CONCEPTS}"
    done = folder / "concepts.json"
    names = [*panel_of(world, work), "oracle"]
    if not (done.exists() and all((folder / f"{name}.json").exists() for name in names)):
        _score(world, length, folder, panel_of(world, work))
    rows = [Row(*row) for name in names for row in json.loads((folder / f"{name}.json").read_text())]
    return Site(world, length, json.loads(done.read_text()), rows)


@torch.no_grad()
def _score(world: str, length: Length, folder: Path, saes: dict[str, SAE]) -> None:
    model = WorldModel.load(length.of(world))
    data = build(model, length.texts)
    places = np.linspace(0, len(data.datasets) - 1, min(CONCEPTS, len(data.datasets))).round().astype(int)
    concepts = [data.datasets[i] for i in places]
    ctx = EvalContext(model, HOOK, data)
    corpus = data.datasets[0].corpus
    write_text(folder / "concepts.json", json.dumps(len(concepts)))

    def row(name: str, sae: SAE, of: SAE, control: bool) -> Row:
        ((_, tables),) = ctx.pooled(sae, corpus, POOLINGS).blocks()
        by_seed = [candidates(tables, concepts, seed) for seed in (SEEDS[:1] if control else SEEDS)]
        scores = {c: [float(np.mean(figures[c])) for figures in by_seed] for c in by_seed[0]}
        facts = meta_of(of).get("panel", {"architecture": "oracle", "l0": 0})
        return Row(name, facts["architecture"], facts["l0"], control, scores)

    def rows(name: str, sae: SAE) -> Iterator[Row]:
        yield row(name, sae, sae, False)
        if name != "oracle":
            yield row(name, matched_random.derive(sae, ctx, 1), sae, True)

    for name, sae in [*saes.items(), ("oracle", oracle.make(ctx, 0))]:
        path, started = folder / f"{name}.json", time.process_time()
        if not path.exists():
            write_text(path, json.dumps(list(rows(name, sae))))
            print(f"{folder.name} {name}: {time.process_time() - started:.1f} s", flush=True)
