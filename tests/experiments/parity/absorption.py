"""SAEBench absorption: sparse probes, splitting rule and absorption word by word, given its probes and latents."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from saebench_lite.activations.acts import Acts
from saebench_lite.api.probe_types import Direction
from saebench_lite.api.subject import SAESubject
from saebench_lite.metrics.classification import auroc, f1
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.probes.logistic import scores
from saebench_lite.probes.peer_fits import fit_adam
from saebench_lite.runs.evaluate import summarise
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.tasks._absorption_fits import PreparedWords, fit_balanced
from saebench_lite.tasks.absorption import TASK, Config, absorbed, main_latents
from tests.experiments.parity.rows import HOOK, Row, read_json

PART = "SAEBench absorption"
AFTER_WORD = 5
"Tokens of the question after the word."
MEANS = {
    "absorption_fraction": "mean_absorption_fraction_score",
    "full_absorption": "mean_full_absorption_score",
    "splits": "mean_num_split_features",
}
DRAWN = "their start is unseeded: another draw each time"


def rows(root: Path, name: str, lm: LanguageModel, sae: AffineSAE) -> list[Row]:
    folder = root / "absorption" / name
    inputs, result = load_file(folder / "inputs.safetensors"), read_json(folder / "result.json")
    sparse, words = read_json(folder / "k_sparse.json"), read_json(folder / "absorption_rows.json")
    truth = Direction(inputs["probe_weight"].double(), inputs["probe_bias"].double())
    out = probe_rows(name, inputs, result, sparse, truth, sae) + word_rows(name, lm, sae, result, words, truth)
    return out + task_rows(name, sae, inputs, result, truth)


def probe_rows(
    name: str,
    inputs: dict[str, Tensor],
    result: dict[str, Any],
    sparse: list[dict[str, Any]],
    truth: Direction,
    sae: Any,
) -> list[Row]:
    n_train = len(inputs["y_train"])
    label = torch.cat([inputs["y_train"], inputs["y_test"]])
    y = torch.stack([label == i for i in range(len(sparse))])
    codes = torch.cat([sae.encode(inputs["X_train"]), sae.encode(inputs["X_test"])]).double()
    truth_f1 = f1(scores(truth, inputs["X_test"]), y[:, n_train:])
    gap = (truth_f1 - torch.tensor(result["f1_probe"], dtype=torch.float64)).abs().max().item()
    out = [Row(PART, name, "F1 of the true probes, largest difference of a letter", 0.0, gap, 1e-6)]
    by_k = []
    for k in range(1, 11):
        columns = torch.stack([codes[:, row[f"sparse_sae_k_{k}_feats"]] for row in sparse])
        usable = y[:, :n_train].any(1)
        fitted = fit_balanced(columns[usable], y[usable], n_train, standardised=False)
        margin = torch.zeros(len(y), len(label) - n_train, dtype=torch.float64)
        margin[usable] = scores(fitted, columns[usable][:, n_train:])
        by_k.append(f1(margin, y[:, n_train:]))
        theirs = torch.tensor([row[f"f1_sparse_sae_{k}"] for row in sparse], dtype=torch.float64)
        gap = (by_k[-1] - theirs)[usable].abs().max().item()
        out.append(Row(PART, name, f"F1 of sparse probes, k {k}, largest difference of a letter", 0.0, gap, 0.01))
        if k == 1:
            areas = [
                (auroc(m[t], m[~t]).item() - row["auc_sparse_sae_1"])
                for m, t, row in zip(margin, y[:, n_train:], sparse, strict=True)
                if t.any()
            ]
            out.append(Row(PART, name, "AUROC of sparse probes, k 1, the same", 0.0, max(map(abs, areas)), 1e-6))
    table = torch.stack(by_k, 1).tolist()
    letters = [row["letter"] for row in sparse]
    for entry in result["details"]:
        ours = main_latents(table[letters.index(entry["first_letter"])], Config().f1_jump)
        what = f"{entry['first_letter']}: main latents"
        out.append(Row(PART, name, what, entry["num_split_features"], ours, 0.0))
    return [*out, ranking_row(name, codes[:n_train], y[:, :n_train], sparse)]


def ranking_row(name: str, codes: Tensor, y: Tensor, sparse: list[dict[str, Any]]) -> Row:
    """How many of their ten latents a letter our draw of their L1 probe finds."""
    weight = fit_adam(codes, y, l1=0.01, l2=1e-6, batch=4096, seed=0).weight
    theirs = [set(row["sparse_sae_k_10_feats"]) for row in sparse]
    found = [len(set(w.topk(10).indices.tolist()) & t) / 10 for w, t in zip(weight, theirs, strict=True)]
    return Row(PART, name, "share of their ten latents a letter", 1.0, sum(found) / len(found), None, DRAWN)


@torch.no_grad()
def word_rows(
    name: str, lm: LanguageModel, sae: AffineSAE, result: dict[str, Any], words: list[dict[str, Any]], truth: Direction
) -> list[Row]:
    cfg, decoder = Config(contribution="cosine", silent=0.0, words="all"), sae.tensors["W_dec"].double()
    x = at_word(lm, [w["prompt"] for w in words])
    ours: dict[str, list[tuple[float, float]]] = {}
    gap = flips = 0.0
    for word, activation in zip(words, x, strict=True):
        letter = word["letter"]
        u = truth.weight[ord(letter) - ord("a")]
        u = u / u.norm()
        projection = (activation.double() @ u)[None]
        cosine = decoder @ u / decoder.norm(dim=1)
        fraction, full = (0.0, 0.0)
        if projection > 0:
            f = sae.encode(activation[None]).double()
            got = absorbed(f, cosine, cosine.clone(), torch.tensor(word["split_feats"]), projection, cfg)
            fraction, full = got.fraction.item(), got.full.item()
        gap = max(gap, abs(fraction - word["absorption_fraction"]))
        flips += full != word["is_full_absorption"]
        ours.setdefault(letter, []).append((fraction, full))
    out = [
        Row(PART, name, f"absorption fraction, largest difference of {len(words)} words", 0.0, gap, 1e-3),
        Row(PART, name, "full absorption, words that differ", 0.0, flips, 0.0),
    ]
    means = {k: [sum(c) / len(v) for c in zip(*v, strict=True)] for k, v in ours.items()}
    listed = [d["first_letter"] for d in result["details"]]
    for i, metric in enumerate(("absorption_fraction", "full_absorption")):
        value = sum(means[c][i] for c in listed) / len(listed)
        peer = result["eval_result_metrics"]["mean"][MEANS[metric]]
        out.append(Row(PART, name, f"{metric}, mean of letters", peer, value, 1e-4))
    return out


def task_rows(
    name: str, sae: AffineSAE, inputs: dict[str, Tensor], result: dict[str, Any], truth: Direction
) -> list[Row]:
    """The whole task given their probe and activations: three draws of their ranking of latents, and ours."""
    x = torch.cat([inputs["X_train"], inputs["X_test"]])
    label, n_train = torch.cat([inputs["y_train"], inputs["y_test"]]), len(inputs["y_train"])
    listed = [ord(d["first_letter"]) - ord("a") for d in result["details"]]
    y, fit = torch.stack([label == i for i in listed]), Direction(truth.weight[listed], truth.bias[listed])
    acts, names = Acts(x, torch.arange(len(x) + 1)), [d["first_letter"] for d in result["details"]]
    reached = f1(scores(fit, x[n_train:]), y[:, n_train:])
    out = []
    for draw in (1, 2, 3, None):
        seed, what = draw or 0, "our ranking" if draw is None else f"their ranking drawn anew ({draw})"
        cfg = Config(contribution="cosine", keep_negative=True, probes="optimum" if draw is None else "adam")
        part = PreparedWords(seed, acts, x.double(), y, n_train, names, fit, reached, [True] * len(names))
        who = SAESubject(name=name, kind="sae", fingerprint=name, sae=sae)
        ctx: Any = SimpleNamespace(memory=1 << 30)
        got, _ = summarise(TASK.evaluate(who, ctx, [part], cfg, [seed]), TASK.card)
        for metric, key in MEANS.items():
            peer = result["eval_result_metrics"]["mean"][key]
            note = DRAWN if draw else "our ranking finds other main latents"
            out.append(Row(PART, name, f"{metric}, {what}", peer, got[metric].value, None, note))
    return out


def at_word(lm: LanguageModel, prompts: list[str]) -> Tensor:
    """Activations [n, d] at the word a prompt asks about, read without BOS, as the peer does here."""
    special = set(lm.special.tolist())
    found = lm.tokenize(prompts, context=None, long_texts="cut_left")
    ids = [[t for t in row if t not in special][:-AFTER_WORD] for row in found]
    out = torch.empty(len(ids), lm.hook_width(HOOK))
    for rows_of_batch, batch in lm.batches(ids, max_tokens=8192):
        acts = lm.collect(batch, [HOOK])[HOOK]
        last = batch.attention.sum(1) - 1
        out[rows_of_batch] = acts[torch.arange(len(last)), last].float()
    return out
