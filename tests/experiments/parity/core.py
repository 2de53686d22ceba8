"""SAEBench core: reconstruction, sparsity, loss, per-latent statistics, on its own tokens."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from saebench_lite.metrics.latents import alive_fraction, fraction_over, nearest_cosine
from saebench_lite.metrics.next_token import losses
from saebench_lite.metrics.reconstruction import row_sums
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.protocol import reconstruct
from saebench_lite.tasks import ce_delta
from tests.experiments.parity.rows import HOOK, Row, batches, flat, read_json
from tests.reference.figures import divergence
from tests.reference.saebench import (
    saebench_explained_variance,
    saebench_explained_variance_legacy,
    saebench_mse,
    saebench_relative_bias,
)

PART = "SAEBench core"
MSE = "theirs is divided by the batch's token count where ours is divided by d"
EV = "theirs subtracts a scalar instead of the mean vector"


def rows(root: Path, name: str, lm: LanguageModel, sae: AffineSAE) -> list[Row]:
    peer = flat(read_json(root / "core" / name / "result.json")["metrics"])
    inputs = load_file(root / "core" / "inputs.safetensors")
    x = [lm.collect(b, [HOOK])[HOOK][b.real] for b in batches(lm, inputs["variance"])]
    return (
        sample_rows(name, peer, x, sae)
        + latent_rows(root, name, peer, x, sae)
        + loss_rows(name, peer, lm, sae, inputs["recons"])
    )


def sample_rows(name: str, peer: dict[str, float], x: list[Tensor], sae: AffineSAE) -> list[Row]:
    hat = [reconstruct(sae, a) for a in x]
    every = torch.cat(x)
    f = sae.encode(every)
    sums = {n: v.sum().item() for n, v in row_sums(every, torch.cat(hat)).items()}
    n, d = len(every), sae.d_in
    centred = (every.double() - every.double().mean(0)).square().sum().item()
    norms = every.double().norm(dim=1).mean().item(), torch.cat(hat).double().norm(dim=1).mean().item()
    peers_ev, legacy = saebench_explained_variance(x, hat), saebench_explained_variance_legacy(x, hat)
    bias = sums["hat"] / sums["dot"]

    def row(metric: str, key: str, ours: float, tolerance: float | None, note: str = "") -> Row:
        return Row(PART, name, metric, peer[key], ours, tolerance, note)

    return [
        row("l0", "l0", (f != 0).sum().item() / n, 1e-4),
        row("l1", "l1", f.abs().sum(-1).double().mean().item(), 1e-4),
        row("l2_norm_in", "l2_norm_in", norms[0], 1e-4),
        row("l2_norm_out", "l2_norm_out", norms[1], 1e-4),
        row("l2_ratio", "l2_ratio", sums["ratio"] / n, 1e-6),
        row("cosine", "cossim", sums["cosine"] / n, 1e-6),
        row("their explained_variance", "explained_variance", peers_ev, 1e-6),
        row("explained_variance", "explained_variance", 1 - sums["sse"] / centred, None, EV),
        row("their explained_variance_legacy", "explained_variance_legacy", legacy, 1e-6),
        row("their mse", "mse", saebench_mse(x, hat), 1e-6),
        row("mse", "mse", sums["sse"] / (n * d), None, MSE),
        row("their relative bias", "relative_reconstruction_bias", saebench_relative_bias(x, hat), 1e-6),
        row("relative_bias", "relative_reconstruction_bias", bias, None, "ours pooled, theirs a mean over batches"),
    ]


def latent_rows(root: Path, name: str, peer: dict[str, float], x: list[Tensor], sae: AffineSAE) -> list[Row]:
    latents = read_json(root / "core" / name / "feature_metrics.json")
    fired = (sae.encode(torch.cat(x)) > 0).double().sum(0)
    tokens = sum(map(len, x))
    density = fired / tokens
    largest = (density - torch.tensor(latents["feature_density"], dtype=torch.float64)).abs().max().item()

    def row(metric: str, key: str, ours: float) -> Row:
        return Row(PART, name, metric, peer[key], ours, 1e-6)

    return [
        row("alive_fraction", "frac_alive", alive_fraction(fired)),
        row("frequent_fraction", "freq_over_1_percent", fraction_over(fired, tokens, 0.01)),
        row("dense_fraction", "freq_over_10_percent", fraction_over(fired, tokens, 0.1)),
        row("their share of firing", "normalized_freq_over_1_percent", share_of_firing(density, 0.01)),
        row("their share of firing, 10 %", "normalized_freq_over_10_percent", share_of_firing(density, 0.1)),
        row("nearest_decoder_cosine", "average_max_decoder_cosine_sim", nearest_cosine(sae.W_dec, 4096)),
        row("nearest other encoder row", "average_max_encoder_cosine_sim", nearest_cosine(sae.W_enc.T, 4096)),
        Row(PART, name, "firing density, largest difference of a latent", 0.0, largest, 5e-5, "one of 40,236 tokens"),
    ]


def share_of_firing(density: Tensor, cut: float) -> float:
    return (density[density > cut].sum() / density.sum()).item()


def loss_rows(name: str, peer: dict[str, float], lm: LanguageModel, sae: AffineSAE, ids: Tensor) -> list[Row]:
    totals = {key: 0.0 for key in ("clean", "real", "zero all", "zero real", "kl", "kl zero")}
    count = count_all = 0.0
    for batch in batches(lm, ids):
        prefix = lm.prefix(batch, HOOK)
        keep, clean = ce_delta.counted(batch), lm.logits(batch)
        hat = reconstruct(sae, prefix.acts.flatten(0, 1)).view_as(prefix.acts)
        real = batch.real[..., None]
        variants = {
            "real": torch.where(real, hat, prefix.acts),
            "zero all": torch.zeros_like(hat),
            "zero real": torch.where(real, 0.0, prefix.acts),
        }
        totals["clean"] += losses(clean, batch.ids)[keep].double().sum().item()
        for key, value in variants.items():
            logits = lm.logits_with(batch, prefix, value, HOOK)
            totals[key] += losses(logits, batch.ids)[keep].double().sum().item()
            if key != "zero real":
                kl = divergence(clean, logits)[batch.real].double().sum().item()
                totals["kl" if key == "real" else "kl zero"] += kl
        count += keep.sum().item()
        count_all += batch.real.sum().item()
    mean = {key: value / count for key, value in totals.items()}
    score = {k: (mean[f"zero {k}"] - mean["real"]) / (mean[f"zero {k}"] - mean["clean"]) for k in ("all", "real")}

    def row(metric: str, key: str, ours: float, tolerance: float | None, note: str = "") -> Row:
        return Row(PART, name, metric, peer[key], ours, tolerance, note)

    return [
        row("ce_clean", "ce_loss_without_sae", mean["clean"], 1e-5),
        row("ce_spliced", "ce_loss_with_sae", mean["real"], 1e-5),
        row("ce_zero, BOS wiped too (ablate=all)", "ce_loss_with_ablation", mean["zero all"], 1e-4),
        row("ce_zero", "ce_loss_with_ablation", mean["zero real"], None, "BOS keeps its activation here"),
        row("loss_recovered, BOS wiped too (ablate=all)", "ce_loss_score", score["all"], 1e-6),
        row("loss_recovered", "ce_loss_score", score["real"], None, "wiping BOS changes the denominator"),
        row("kl, last positions too", "kl_div_with_sae", totals["kl"] / count_all, 1e-6),
        row("kl of zero ablation", "kl_div_with_ablation", totals["kl zero"] / count_all, 1e-4),
        row("their kl score", "kl_div_score", 1 - totals["kl"] / totals["kl zero"], 1e-6),
    ]
