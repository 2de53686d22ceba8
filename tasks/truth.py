"""Truth: how well a dictionary found the features that a synthetic world is made of.

Only at a site whose features are known (`--model world:...`). A true feature fires where its activation is above 0;
counts run over the first tokens of the world's samples. Without a threshold at 0:

- mcc: mean |cos| of the one-to-one (Hungarian) matching of decoder rows and true directions; mcc_calibrated:
  (mcc - null) / (1 - null) with the MCC of random dictionaries of the same size as null;
- feature_ap: average precision of the best latent for each of the d_sae features that fire most, those that fire often
  enough to tell, at the feature's own rate, token by token; feature_tuned_f1: F1 above its best threshold. Latent and
  threshold are chosen on one half of the tokens and judged on the other.
Where a latent fires if its code is not 0:
- precision, recall, f1: each latent as a detector of the feature its decoder points at, mean over latents (dead: 0);
- feature_f1: the other side: each true feature has the F1 of the latent that detects it best, 0 if none does; mean over
  the d_sae features that fire most, which is all a dictionary of that width could hold. feature_f1_all: over all;
- uniqueness: distinct nearest features over latents.
For probes feature_f1 is that of the probe fitted per feature, on an even sample of the features within reach.

Source: SynthSAEBench, arXiv:2602.14687. Where we differ: its F1 lets latents choose what they are examined in; so it
stands beside feature_f1, where a feature that nobody covers counts 0; MCC also above its null, which is .15 to .5;
average precision and tuned F1 of latents as in arXiv:2506.05774, of the true features instead of labelled concepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.activations.pooling import chunk_size
from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext
from saebench_lite.api.settings import Count, Settings
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Scores, Task
from saebench_lite.errors import NotApplicable
from saebench_lite.metrics.matching import above_null
from saebench_lite.probes.best_latents import Samples, best_latent_scores
from saebench_lite.probes.logistic import scores
from saebench_lite.records.metric import Metric
from saebench_lite.saes.protocol import SAE, decoder_of, device_of
from saebench_lite.worlds import truth
from saebench_lite.worlds.model import BLOCK, WorldModel

LEAST = 8
"Tokens of each half in which a feature must fire for its best latent to be looked for."
TOGETHER = 1 << 23
"Codes that are not 0, at least, that are gathered on a CPU before they are counted; on a GPU a chunk is."
_MEANINGS = {
    "feature_ap": "average precision of the best latent for each feature within reach",
    "feature_tuned_f1": "F1 of the same above the best threshold",
    "feature_f1": "F1 of the best latent for each feature within reach",
    "feature_f1_all": "the same over all true features",
    "f1": "F1 of each latent for the feature its decoder points at",
    "precision": "precision of the same",
    "recall": "recall of the same",
    "mcc": "mean |cos| of matched decoder rows and true directions",
    "mcc_calibrated": "the same above random dictionaries",
    "uniqueness": "distinct nearest features over latents",
}
CARD = Card(
    name="truth",
    version=2,
    description="how well the dictionary found the features the world is made of",
    source="SynthSAEBench, arXiv:2602.14687",
    headline=("mcc_calibrated",),
    beside=("feature_f1", "f1"),
    metrics=(
        *(
            Metric(
                name=name,
                meaning=meaning,
                better="higher",
                construct="recovery",
                lower_bound=None if name == "mcc_calibrated" else 0.0,
                upper_bound=1.0,
            )
            for name, meaning in _MEANINGS.items()
        ),
        Metric(
            name="true_l0",
            meaning="features that fire per token",
            better="neither",
            construct="sparsity",
            lower_bound=0.0,
        ),
    ),
    accepts=("sae", "probe"),
    requires_ground_truth=True,
    seeded=False,
)


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    samples: Count = 32_768
    "Tokens counted."
    ranked: Count = 8192
    "Tokens on which best latents are chosen and judged, half and half."
    probed: Count = 48
    "Features on which probes are fitted."


class Prepared(NamedTuple):
    fires: list[truth.Firing]
    "Which features fire in the tokens of each block that is read."
    counted: range
    "Blocks on which it is counted what fires together."
    ranked: range
    "Blocks on which best latents are chosen and judged."
    null: dict[int, float]
    "MCC of random dictionaries by their size, filled as sizes turn up."


def prepare(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> Prepared:
    if not isinstance(ctx.lm, WorldModel):
        raise NotApplicable(f"the true features of {ctx.lm.name} are not known; use --model world:small")
    size = BLOCK * ctx.lm.tokens
    counted, ranked = (range(max(1, tokens // size)) for tokens in (cfg.samples, cfg.ranked))
    fires = [truth.firing(ctx.lm.features(block)).to("cpu") for block in range(max(len(counted), len(ranked)))]
    return Prepared(fires, counted, ranked, {})


@torch.no_grad()
def evaluate(subject: Subject, ctx: EvalContext, prepared: Prepared, cfg: Config, seeds: Sequence[int]) -> Scores:
    """Values of every metric for one subject.

    Args:
        subject: an SAE or a probe.
        ctx: the site.
        prepared: what fires in which blocks, and chance MCC by size of dictionary, from `prepare`.
        cfg: settings of the task.
        seeds: of the repetitions.
    """
    assert isinstance(ctx.lm, WorldModel)
    if subject.probe is not None:
        return _probe_scores(subject, ctx.lm, prepared, cfg)
    sae = subject.require_sae()
    counts = _counts(sae, ctx.lm, prepared, ctx.memory)
    out = Scores()
    _feature_side(counts, ctx.lm, sae.d_sae, out)
    _best_latents(sae, ctx.lm, prepared, ctx.memory, out)
    decoder = decoder_of(sae)
    if decoder is not None:
        directions = ctx.lm.world.directions.to(decoder.device)
        if sae.d_sae not in prepared.null:
            prepared.null[sae.d_sae] = truth.mcc_null(sae.d_sae, directions)
        _latent_side(counts, truth.cosines(decoder.float(), directions), prepared.null[sae.d_sae], out)
    return out


def _counts(sae: SAE, lm: WorldModel, prepared: Prepared, memory: int) -> truth.Counts:
    device = device_of(sae)
    on_card = device.type == "cuda"
    size = chunk_size(max(sae.d_sae, lm.world.spec.features) if on_card else sae.d_sae, device, memory)
    total: truth.Counts | None = None
    codes: list[truth.Firing] = []
    true: list[truth.Firing] = []
    for block in prepared.counted:
        x, last = lm.activations(block), block == prepared.counted[-1]
        for low in range(0, len(x), size):
            codes.append(truth.firing(sae.encode(x[low : low + size].to(device))))
            true.append(prepared.fires[block].samples_from(low, low + size))
            enough = on_card or sum(len(part.column) for part in codes) >= min(TOGETHER, memory // 64)
            if enough or (last and low + size >= len(x)):
                new = truth.count(truth.joined(codes), truth.joined(true).to(device))
                total = new if total is None else truth.add(total, new)
                codes, true = [], []
    assert total is not None
    return total


def _feature_side(counts: truth.Counts, lm: WorldModel, d_sae: int, out: Scores) -> None:
    best = truth.of_features(counts).cpu()
    fires = counts.feature.cpu()
    for i, features in enumerate(lm.by_frequency[:d_sae].tensor_split(10)):
        if len(features):
            out.add("feature_f1", best[features].mean().item(), unit=f"decile {i}", weight=len(features))
    for i, features in enumerate(lm.by_frequency.tensor_split(10)):
        out.add("feature_f1_all", best[features].mean().item(), unit=f"decile {i}", weight=len(features))
    out.add("true_l0", (fires.sum() / counts.samples).item(), unit="all")
    depth = lm.world.forest.depth
    out.diagnostics["feature_f1_by_depth"] = {
        "free" if level < 0 else str(level): best[depth == level].mean().item() for level in sorted(set(depth.tolist()))
    }


def _best_latents(sae: SAE, lm: WorldModel, prepared: Prepared, memory: int, out: Scores) -> None:
    """Adds average precision and tuned F1 of the best latents, ten units from frequent features to rare ones."""
    device = device_of(sae)
    x = torch.cat([lm.activations(block) for block in prepared.ranked])
    fires = truth.joined([prepared.fires[block] for block in prepared.ranked]).dense()
    half = len(x) // 2
    fired = torch.stack([fires[:half].sum(0), fires[half:].sum(0)])
    often = (fired >= LEAST).all(0) & (fired < half).all(0)
    reach = lm.by_frequency[: sae.d_sae]
    fires = fires[:, reach[often[reach]]].to(device)
    codes = torch.cat([sae.encode(part.to(device)) for part in x.split(chunk_size(sae.d_sae, device, memory))])
    best = best_latent_scores(Samples(codes[:half], fires[:half]), Samples(codes[half:], fires[half:]))
    for name, values in (("feature_ap", best.precision), ("feature_tuned_f1", best.f1)):
        for i, decile in enumerate(values.tensor_split(10)):
            if len(decile):
                out.add(name, decile.mean().item(), unit=f"decile {i}", weight=len(decile))


def _latent_side(counts: truth.Counts, cos: Tensor, null: float, out: Scores) -> None:
    detection = truth.of_latents(counts, cos)
    for name, values in detection._asdict().items():
        for i, group in enumerate(values.cpu().tensor_split(min(32, len(values)))):
            out.add(name, group.mean().item(), unit=f"latents {i}", weight=len(group))
    matched = truth.mcc(cos)
    out.add("mcc", matched, unit="all")
    out.add("mcc_calibrated", above_null(matched, null), unit="all")
    out.add("uniqueness", truth.uniqueness(cos), unit="all")


def _probe_scores(subject: Subject, lm: WorldModel, prepared: Prepared, cfg: Config) -> Scores:
    """F1 per feature of probes fitted on the first half of the samples, counted on the second."""
    assert subject.probe is not None
    x = torch.cat([lm.activations(block) for block in prepared.counted]).to(lm.device)
    fires = truth.joined([prepared.fires[block] for block in prepared.counted]).dense()
    half = len(x) // 2
    reach = lm.by_frequency[: lm.world.spec.features // 4]
    reach = reach[fires[:half, reach].any(0)]
    chosen = reach[torch.linspace(0, len(reach) - 1, min(cfg.probed, len(reach))).round().long()]
    y = fires[:, chosen].T.to(x.device)
    fitted = subject.probe(x[:half], y[:, :half], torch.ones_like(y[:, :half]))
    predicted, true = scores(fitted, x[half:]) > 0, y[:, half:]
    f1 = 2 * (predicted & true).sum(1) / (predicted.sum(1) + true.sum(1)).clamp(min=1)
    out = Scores()
    for feature, value in zip(chosen.tolist(), f1.tolist(), strict=True):
        out.add("feature_f1", value, unit=f"feature {feature}")
    return out


TASK = Task(CARD, Config, prepare, evaluate)
