"""sae-probes, normal setting: its ranking, its L1 probes, and our own probe on its rows."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from saebench_lite.metrics.classification import accuracy, auroc
from saebench_lite.metrics.peer_formulas import weighted_f1
from saebench_lite.probes.logistic import scores
from saebench_lite.probes.peer_fits import fit_l1, strength_aurocs
from saebench_lite.probes.validated import fit_logistic_validated
from saebench_lite.saes.affine import AffineSAE
from tests.experiments.parity.rows import Row, read_json
from tests.reference.figures import ranking

PART = "sae-probes, normal"
SAGA = "saga stops before it converges"


def rows(root: Path, name: str, sae: AffineSAE) -> list[Row]:
    peer = read_json(root / "sae_probes" / name / "result.json")["metrics"]
    inputs = load_file(root / "sae_probes" / "inputs.safetensors")
    out: list[Row] = []
    for dataset, entries in peer.items():
        codes = {part: sae.encode(inputs[f"{dataset}|X_{part}"].float()) for part in ("train", "test")}
        y = {part: inputs[f"{dataset}|y_{part}"].bool() for part in ("train", "test")}
        order = ranking(codes["train"], y["train"], "normalised").argsort(descending=True)
        for entry in entries:
            out += entry_rows(name, f"{dataset.split('_')[0]}, k {entry['k']}", entry, codes, y, order)
    return out


def entry_rows(
    name: str, place: str, entry: dict, codes: dict[str, Tensor], y: dict[str, Tensor], order: Tensor
) -> list[Row]:
    k, theirs = entry["k"], entry["indices"]
    shared = len(set(order[:k].tolist()) & set(theirs)) / k
    train, test = codes["train"][:, theirs], codes["test"][:, theirs]
    fitted = fit_l1(train, y["train"])
    margin = scores(fitted, test)[0]
    area = auroc(margin[y["test"]], margin[~y["test"]]).item()

    def row(metric: str, peer: float, ours: float, tolerance: float | None, note: str = "") -> Row:
        return Row(PART, name, f"{place}: {metric}", peer, ours, tolerance, note)

    found = [
        row("share of their latents", 1.0, shared, 1e-9 if k <= 8 else 0.05, "" if k <= 8 else "near ties"),
        row("AUROC, L1 probe", entry["test_auc"], area, 1e-6 if k == 1 else 2e-3, "" if k == 1 else SAGA),
        row("validation AUROC", entry["val_auc"], max(strength_aurocs(train, y["train"])), 1e-6 if k == 1 else 4e-3),
        row("accuracy", entry["test_acc"], accuracy(margin, y["test"]).item(), 1e-6 if k == 1 else 4e-3),
        row("weighted F1", entry["test_f1"], weighted_f1(margin > 0, y["test"]), 1e-6 if k == 1 else 4e-3),
    ]
    if k in (1, 16):
        table, labels = torch.cat([train, test])[None], torch.cat([y["train"], y["test"]])[None]
        use = torch.arange(labels.shape[1])[None] < len(train)
        ours = scores(fit_logistic_validated(table, labels, use), table)[0, len(train) :]
        area = auroc(ours[y["test"]], ours[~y["test"]]).item()
        note = "L2 optimum on standardised columns; their L1 sets all weights to 0 where AUROC is 0.5"
        found.append(row("AUROC, our probe", entry["test_auc"], area, None, note))
    return found
