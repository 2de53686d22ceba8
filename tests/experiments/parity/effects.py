"""What each choice that separates us from the peers does to a figure: `python -m tests.experiments.parity.effects`.

Writes results/parity/effects.md. Model and SAEs: pico and its bundled ones; data: the bundled concepts and ten of the
sae-probes datasets (`saebench-lite data pull sae-probes`). About six minutes on one core.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebench_lite import registry
from saebench_lite.api.context import EvalContext
from saebench_lite.api.subject import ProbeSubject, SAESubject
from saebench_lite.bundled import sae_folders
from saebench_lite.data.splits import normal_split
from saebench_lite.data.types import Labelled
from saebench_lite.files import write_text
from saebench_lite.loaders import native
from saebench_lite.metrics.classification import accuracy, auroc
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.probes.directions import principal_direction
from saebench_lite.probes.latent_selection import Selection
from saebench_lite.probes.logistic import scores
from saebench_lite.probes.peer_fits import fit_l1
from saebench_lite.probes.validated import fit_logistic_validated
from saebench_lite.runs.setup import load_data
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.protocol import reconstruct
from tests.experiments.parity.rows import HOOK
from tests.experiments.parity.task_effects import ABSORPTION, SEEDS, Effect, by_settings, drawn_anew
from tests.reference import saebench
from tests.reference.figures import ranking

TABLE = Path(__file__).resolve().parents[3] / "results" / "parity" / "effects.md"
DATASETS = "41_*,65_*,96_*,114_*,117_*,130_*,131_*,132_*,145_*,154_*"
SAE = "topk_1024_l0_16"
REDRAWS = 20
TASKS = (
    (
        "ce_delta",
        {"ablate": "all"},
        {"ce_zero": "loss of zero ablation", "loss_recovered": "loss recovered"},
        "zero ablation wipes BOS too",
    ),
    ("absorption", {"probes": "adam", "min_share": 0.5}, ABSORPTION, "absorption's probes by 50 epochs of Adam"),
    ("absorption", {"contribution": "cosine"}, {"absorption_fraction": "absorbed fraction"}, "cosine alone times code"),
    (
        "absorption",
        {"words": "all", "silent": 0.0},
        {"absorption_fraction": "absorbed fraction", "full_absorption": "full absorption"},
        "words on which nothing carries the letter count as not absorbed",
    ),
)
"Task, the peer's settings (a share of letters that pico reaches), the metrics compared, the choice."


class Probing(NamedTuple):
    """A dataset's last-token activations and codes under one split, training rows first."""

    name: str
    x: Tensor
    codes: Tensor
    y: Tensor
    rows: np.ndarray
    n: int


def probing(ctx: EvalContext, sae: AffineSAE, labelled: Labelled, seed: int = 42) -> Probing:
    split = normal_split(labelled.positive, seed)
    order = np.concatenate([split.train, split.test])
    x = ctx.acts(labelled.corpus, "last").x[labelled.rows[order]].float()
    y = torch.as_tensor(labelled.positive[order])
    return Probing(labelled.name, x, sae.encode(x), y, labelled.rows[order], len(split.train))


def ours_margin(x: Tensor, p: Probing) -> Tensor:
    """Margins of all rows under our probe fitted on the training rows."""
    use = (torch.arange(len(x)) < p.n)[None]
    return scores(fit_logistic_validated(x[None], p.y[None], use), x)[0]


def best_columns(p: Probing, k: int, selection: Selection = "normalised") -> Tensor:
    return p.codes[:, ranking(p.codes[: p.n], p.y[: p.n], selection).topk(k).indices]


def area(margin: Tensor, y: Tensor) -> float:
    return auroc(margin[y], margin[~y]).item()


def duplicates(problems: list[Probing]) -> Iterator[Effect]:
    """The same fit judged on all test rows and on those whose text is not a training text."""
    choice = "test rows that repeat training rows"
    found: dict[str, list[tuple[float, float]]] = {"logistic": [], f"{SAE}, k 16": []}
    shares = []
    for p in problems:
        new = ~np.isin(p.rows[p.n :], p.rows[: p.n])
        shares.append(1 - new.mean())
        y, fresh = p.y[p.n :], torch.as_tensor(new)
        if fresh.sum() < 20 or not (y & fresh).any() or not (~y & fresh).any():
            continue
        for name, x in (("logistic", p.x), (f"{SAE}, k 16", best_columns(p, 16))):
            margin = ours_margin(x, p)[p.n :]
            found[name].append((area(margin, y), area(margin[fresh], y[fresh])))
    yield Effect(choice, "share of test rows, mean of ten datasets", float(np.mean(shares)), 0.0)
    for name, pairs in found.items():
        every, fresh = (float(np.mean(v)) for v in zip(*pairs, strict=True))
        yield Effect(choice, f"AUROC of {name}, mean of {len(pairs)} datasets", every, fresh)


def unconverged_l1(problems: list[Probing]) -> Iterator[Effect]:
    choice = "L1 by saga on raw columns, C by AUROC"
    theirs, ours, spread = [], [], []
    for p in problems:
        columns, y = best_columns(p, 16), p.y[p.n :]
        areas = [area(scores(fit_l1(columns[: p.n], p.y[: p.n], seed), columns[p.n :])[0], y) for seed in SEEDS]
        theirs.append(areas[0])
        spread.append(max(areas) - min(areas))
        ours.append(area(ours_margin(columns, p)[p.n :], y))
    what = f"of {SAE}, k 16, {len(problems)} datasets"
    yield Effect(choice, f"mean AUROC {what}", float(np.mean(theirs)), float(np.mean(ours)))
    yield Effect(
        choice, f"datasets with AUROC exactly 0.5 {what}", sum(a == 0.5 for a in theirs), sum(a == 0.5 for a in ours)
    )
    yield Effect(choice, "largest change of an AUROC by the solver's seed alone", max(spread), 0.0)


def full_probe(x: Tensor, y: Tensor, n_fit: int, n_train: int, seed: int) -> tuple[float, float]:
    """Test accuracy of the epoch that is best on the test rows, and of the one that is best on held-out training rows.

    SAEBench's whole-code probe: a linear layer, AdamW, learning rate 0.01, batches of 250, 100 epochs, patience 10.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    layer = torch.nn.Linear(x.shape[1], 1)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=0.01)
    tests, held = [], []
    for _ in range(100):
        for rows in torch.randperm(n_fit, generator=generator).split(250):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(layer(x[rows])[:, 0], y[rows].float())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            margin = layer(x)[:, 0]
        tests.append(accuracy(margin[n_train:], y[n_train:]).item())
        held.append(accuracy(margin[n_fit:n_train], y[n_fit:n_train]).item())
        if len(tests) - int(np.argmax(tests)) > 10 and len(held) - int(np.argmax(held)) > 10:
            break
    return max(tests), tests[int(np.argmax(held))]


def test_epoch(problems: list[Probing]) -> Iterator[Effect]:
    choice = "epoch chosen on the test set"
    for name in ("activations", "codes"):
        pairs = [
            full_probe(p.x if name == "activations" else p.codes, p.y, p.n - p.n // 5, p.n, seed)
            for p in problems
            for seed in SEEDS
        ]
        best, honest = (float(np.mean(v)) for v in zip(*pairs, strict=True))
        yield Effect(choice, f"accuracy of SAEBench's probe on {name}, mean of {len(problems)} datasets", best, honest)


def redrawn(ctx: EvalContext, sae: AffineSAE, labelled: list[Labelled]) -> Iterator[Effect]:
    """How often k = 2 looks worse than k = 1, with new rows for each k and with the same rows."""
    choice = "new negatives and test rows for every k"
    noise, inversions = [], {"new": 0, "same": 0}
    total = 0
    for dataset in labelled:
        tables = [probing(ctx, sae, dataset, seed) for seed in range(REDRAWS)]
        by_k = {
            k: [accuracy(ours_margin(best_columns(p, k, "raw"), p)[p.n :], p.y[p.n :]).item() for p in tables]
            for k in (1, 2)
        }
        noise.append(statistics.stdev(by_k[1]))
        inversions["same"] += sum(a > b for a, b in zip(by_k[1], by_k[2], strict=True))
        inversions["new"] += sum(a > b for a, b in zip(by_k[1], by_k[2][1:] + by_k[2][:1], strict=True))
        total += REDRAWS
    yield Effect(
        choice,
        f"share of {total} draws with accuracy at k 2 below k 1",
        inversions["new"] / total,
        inversions["same"] / total,
    )
    yield Effect(choice, "sd of one dataset's accuracy at k 1 from the draw alone", float(np.mean(noise)), 0.0)


def core(ctx: EvalContext, saes: dict[str, AffineSAE]) -> Iterator[Effect]:
    x = torch.cat([ctx.acts(c).x for c in ctx.data.texts]).float()
    total = (x.double() - x.double().mean(0)).square().sum().item()
    for name, sae in saes.items():
        hat = torch.cat([reconstruct(sae, part) for part in x.split(4096)])
        error = (x.double() - hat.double()).square().sum().item()
        batches = x.split(2048), hat.split(2048)
        centred = 1 - error / total
        yield Effect("uncentred explained variance", name, saebench.saebench_explained_variance(*batches), centred)
        legacy = saebench.saebench_explained_variance_legacy(*batches)
        yield Effect("explained variance, legacy: mean of a ratio a token", name, legacy, centred)
        mean = error / x.numel()
        yield Effect("mse, batches of 2,048 tokens", name, saebench.saebench_mse(*batches), mean)
        yield Effect("mse, batches of 1,024 tokens", name, saebench.saebench_mse(x.split(1024), hat.split(1024)), mean)


def signs(ctx: EvalContext) -> Iterator[Effect]:
    """AUROC of the first component of the positives: with a sign that knows no labels, and with the labels' sign."""
    areas = []
    for concept in ctx.data.concepts:
        split, acts = normal_split(concept.positive, 42), ctx.acts(concept.corpus)
        train = [acts.take(concept.rows[split.train][concept.positive[split.train] == yes]).x for yes in (True, False)]
        weight = principal_direction(train[0])
        weight = weight * weight[weight.abs().argmax()].sign()
        high, low = ((x.double() @ weight).mean() for x in train)
        some, y = acts.take(concept.rows[split.test]), torch.as_tensor(concept.positive[split.test])
        token = (some.x.double() @ weight).numpy()
        starts = some.offsets[:-1].numpy()
        up, down = (area(torch.as_tensor(np.maximum.reduceat(s * token, starts)), y) for s in (1, -1))
        areas.append((up, up if high >= low else down))
    theirs, ours = (float(np.mean(v)) for v in zip(*areas, strict=True))
    yield Effect("sign of PCA not taken from labels", f"mean AUROC of {len(areas)} concepts", theirs, ours)


def all_effects() -> Iterator[Effect]:
    lm = LanguageModel.load("pico")
    saes = {f.name: native.load(f) for f in sae_folders()}
    ctx = EvalContext(lm, HOOK, load_data([f"sae-probes:{DATASETS}"]))
    problems = [probing(ctx, saes[SAE], d) for d in ctx.data.datasets]
    yield from duplicates(problems)
    yield from unconverged_l1(problems)
    yield from test_epoch(problems)
    yield from redrawn(ctx, saes[SAE], list(ctx.data.datasets)[:4])
    bundled = EvalContext(lm, HOOK, load_data(["bundled"]))
    yield from core(bundled, {n: s for n, s in saes.items() if n.endswith("_l0_16")})
    sae = SAESubject(name=SAE, kind="sae", fingerprint=SAE, sae=saes[SAE])
    fit = registry.get("baselines", "diff_in_means").probe
    probe = ProbeSubject(name="diff_in_means", kind="baseline", fingerprint="d", probe=fit)
    for who in (sae, probe):
        choice, cases = "F1 threshold chosen on the test set", ({"threshold": "test"}, {})
        yield from by_settings(bundled, who, "concept_detection", cases, {"f1": "F1"}, choice)
    for task, theirs, metrics, choice in TASKS:
        yield from by_settings(bundled, sae, task, (theirs, {}), metrics, choice)
    yield from drawn_anew(bundled, sae)
    yield from signs(bundled)


def main() -> None:
    lines = [
        "# What each choice does to a figure",
        "",
        "`python -m tests.experiments.parity.effects` writes this file, after `saebench-lite data pull sae-probes`.",
        "Model: pico;",
        f"SAEs: its bundled ones, {SAE} where one SAE is meant. Why we choose otherwise: docs/parity.md.",
        "",
        "| choice | figure | the peer's way | ours | difference |",
        "|---|---|---|---|---|",
    ]
    for e in all_effects():
        lines.append(f"| {e.choice} | {e.figure} | {e.theirs:.4g} | {e.ours:.4g} | {e.theirs - e.ours:+.4g} |")
        print(lines[-1], flush=True)
    write_text(TABLE, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
