"""How often intervals over the test texts of few units hold: `python -m tests.experiments.text_coverage`.

Writes results/simulations/texts.md. The population is the bundled concept texts of twelve topics, each topic one
against the rest, and what a latent of a bundled SAE makes of them. Test sets are drawn from it; an interval should hold
the mean of the scores of all sets of its size.
"""

from __future__ import annotations

import time
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from tabulate import tabulate
from torch import Tensor

from saebench_lite.activations.pooling import Pooling, pooled_codes
from saebench_lite.activations.store import collect
from saebench_lite.bundled import concept_texts, sae_folders
from saebench_lite.data.types import Corpus
from saebench_lite.files import write_text
from saebench_lite.loading.open import load
from saebench_lite.metrics import classification as scores
from saebench_lite.metrics import resampling as errors
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.stats.reseed_noise import sampling_sd
from saebench_lite.stats.single_unit import interval_over_texts
from tests.experiments.rank_populations import ROOT

OUT = ROOT / "results" / "simulations" / "texts.md"
HOOK = "blocks.2.hook_resid_post"
DRAWS, TEXTS, PREVALENCE = 100, 40, 0.1
"Test sets of each SAE, texts of a topic in each, and the prevalence that average precision assumes."
UNITS = (1, 2, 4, 8, 11)


class Judged(NamedTuple):
    """A score of the texts of one topic against the rest, and its standard error."""

    value: float
    error: float


def figures(s: Tensor, y: Tensor, threshold: float) -> dict[str, Judged]:
    """Of detector scores s [n] and labels y [n] bool."""
    up, down = s[y], s[~y]
    found = {
        "average precision": (
            scores.average_precision(up, down, PREVALENCE),
            errors.average_precision_error(up, down, PREVALENCE),
        ),
        "AUROC": (scores.auroc(up, down), errors.auroc_error(up, down)),
        "accuracy": (scores.accuracy(s, y, threshold), errors.accuracy_error(s, y, threshold)),
        "F1": (scores.f1(s, y, threshold), errors.f1_error(s, y, threshold)),
    }
    return {name: Judged(float(value), float(error)) for name, (value, error) in found.items()}


def detectors(codes: Tensor, topic: np.ndarray) -> list[tuple[Tensor, float]]:
    """For each topic, the code [texts] of the latent that tells it best from the rest and the threshold of best F1."""
    out = []
    for c in np.unique(topic):
        y = torch.from_numpy(topic == c)
        rest = codes[~y]
        error = (codes[y].var(0) / y.sum() + rest.var(0) / len(rest)).sqrt()
        best = codes[:, int(((codes[y].mean(0) - rest.mean(0)) / error.clamp(min=1e-12)).argmax())]
        cuts = torch.quantile(best, torch.linspace(0.5, 0.99, 20, dtype=best.dtype)).tolist()
        out.append((best, max(cuts, key=lambda t, best=best, y=y: float(scores.f1(best, y, t)))))
    return out


class Row(NamedTuple):
    """How often an interval held, what its error was beside the true one, and how far small sets lie above large."""

    metric: str
    units: int
    covered: float
    spread: float
    above: float
    cases: int


def of_sae(codes: Tensor, topic: np.ndarray, rng: np.random.Generator) -> dict[tuple[str, int], list[list[float]]]:
    """By metric and number of units: (covered, z, z from the whole population) of each test set of one SAE."""
    found = detectors(codes, topic)
    whole = [figures(s, torch.from_numpy(topic == c), t) for c, (s, t) in enumerate(found)]
    sets = []
    for _ in range(DRAWS):
        rows = np.concatenate([rng.choice(np.flatnonzero(topic == c), TEXTS) for c in range(len(found))])
        sets.append([figures(s[rows], torch.from_numpy(topic[rows] == c), t) for c, (s, t) in enumerate(found)])
    out: dict[tuple[str, int], list[list[float]]] = {}
    for metric, k in product(whole[0], UNITS):
        for one in sets:
            units = rng.permutation(len(found))[:k]
            error = np.array([one[c][metric].error for c in units])
            if not (error > 0).all():
                continue
            sd = float(sampling_sd(error, np.ones(k)))
            value, all_sets, population = (
                float(np.mean([part[c][metric].value for part in parts for c in units]))
                for parts in ([one], sets, [whole])
            )
            low, high = interval_over_texts(value, sd, (0.0, 1.0))
            held = [low <= all_sets <= high, (value - all_sets) / sd, (value - population) / sd]
            out.setdefault((metric, k), []).append(held)
    return out


def rows() -> list[Row]:
    """Of all bundled SAEs, pooled in turn by mean and by maximum."""
    texts, topic = list[str](), list[int]()
    for i, parts in enumerate(concept_texts().values()):
        own = dict.fromkeys(text for part in parts.values() for text in part)
        texts += own
        topic += [i] * len(own)
    acts, _ = collect(LanguageModel.load("pico"), HOOK, Corpus("topics", tuple(texts)))
    poolings: tuple[Pooling, ...] = ("mean", "max")
    held: dict[tuple[str, int], list[list[float]]] = {}
    for i, folder in enumerate(sae_folders()):
        how = poolings[i % 2]
        codes = pooled_codes(load(folder), acts, (how,))[how].double()
        for key, cases in of_sae(codes, np.array(topic), np.random.default_rng(i)).items():
            held.setdefault(key, []).extend(cases)
    out = []
    for (metric, k), cases in held.items():
        inside, z, above = np.array(cases, dtype=float).T
        out.append(Row(metric, k, float(inside.mean()), float(z.std()), float(above.mean()), len(cases)))
    return out


def page(found: list[Row], seconds: float) -> str:
    """The text of results/simulations/texts.md."""
    heads = ["score", "units", "covers", "sd of z", "above the population", "intervals"]
    body = [[r.metric, r.units, f"{r.covered:.3f}", f"{r.spread:.2f}", f"{r.above:+.2f}", r.cases] for r in found]
    least, most = (100 * pick(r.covered for r in found) for pick in (min, max))
    return f"""# How often intervals over the test texts of few units hold

Printed by `python -m tests.experiments.text_coverage` in {seconds:.0f} seconds of one core.

The population: bundled texts of twelve topics, each topic against the rest, and the latent of each bundled SAE that
tells it best. {DRAWS} test sets of {TEXTS} texts a topic are drawn from it for each SAE. Units are topics, which share
their texts; the interval of their mean takes their errors as independent. It should hold the mean over all sets of
this size; sd of z: the true error as a multiple of the one used. A share of 95 % has a standard error of 0.6 %. These
rows cover from {least:.1f} to {most:.1f} %.

Above the population: by how many errors the score of a set lies above that of all texts on average. Average precision
counts each positive above itself and is higher in small sets, of whatever SAE: compare it on the same texts.

{tabulate(body, heads, tablefmt="github", disable_numparse=True)}
"""


if __name__ == "__main__":
    began = time.process_time()
    with torch.no_grad():
        torch.set_num_threads(1)
        done = rows()
    write_text(OUT, page(done, time.process_time() - began))
