"""The same model, SAEs, texts and token ids for both sides, from the folder that tests/experiments/parity reads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from saebench_lite.data.types import Corpus, Data, Labelled

CONTEXT = 128
HUB = Path("hub") / "models--EleutherAI--pythia-70m-deduped"
"Where a Hub cache holds the model that TransformerLens calls pythia-70m-deduped: one of the fixture's architecture."
SNAPSHOT = "0" * 40


def lay_out(parity: Path, work: Path, tokenizer: Any) -> None:
    """Writes into `work`: the model as an offline Hub cache, the SAEs, core's rows of ids, labelled texts."""
    snapshot = work / "home" / HUB / "snapshots" / SNAPSHOT
    shutil.copytree(parity / "lm", snapshot)
    (work / "home" / HUB / "refs").mkdir()
    (work / "home" / HUB / "refs" / "main").write_text(SNAPSHOT)
    shutil.copytree(parity / "saes", work / "saes")
    rows = core_rows(parity)
    (work / "core").mkdir()
    lines = (json.dumps({"tokens": row}) for part in ("recons", "variance") for row in rows[part])
    (work / "core" / "train.jsonl").write_text("\n".join(lines) + "\n")
    (work / "probing.json").write_text(json.dumps(labelled_texts(parity, tokenizer)))


def core_rows(parity: Path) -> dict[str, list[list[int]]]:
    """Rows of CONTEXT token ids, in the order in which SAEBench reads them: "recons", then "variance"."""
    return {name: ids.tolist() for name, ids in load_file(parity / "core" / "inputs.safetensors").items()}


def labelled_texts(parity: Path, tokenizer: Any) -> dict[str, dict[str, dict[str, list[str]]]]:
    """{dataset: {"train"/"test": {class: texts}}}: the recorded token ids as text again, which both sides tokenise."""
    inputs = load_file(parity / "sparse_probing" / "inputs.safetensors")
    read: dict[str, dict[str, dict[str, list[str]]]] = {}
    for key in (k for k in inputs if k.endswith("|input_ids")):
        dataset, part, label, _ = key.split("|")
        mask = inputs[f"{dataset}|{part}|{label}|attention_mask"].bool()
        texts = [
            tokenizer.decode(ids[real], skip_special_tokens=True) for ids, real in zip(inputs[key], mask, strict=True)
        ]
        read.setdefault(dataset, {"train": {}, "test": {}})[part][label] = texts
    return read


def probing_data(labelled: dict[str, dict[str, dict[str, list[str]]]]) -> Data:
    """One yes/no dataset a class: its texts against those of the dataset's other classes."""
    datasets = []
    for name, parts in labelled.items():
        rows = [(text, part, label) for part, classes in parts.items() for label, ts in classes.items() for text in ts]
        corpus = Corpus(name, tuple(r[0] for r in rows), context=CONTEXT)
        part, labels = np.array([r[1] for r in rows]), np.array([r[2] for r in rows])
        for label in parts["train"]:
            datasets.append(Labelled(f"{name} {label}", corpus, np.arange(len(rows)), labels == label, part))
    return Data("sparse probing", datasets=tuple(datasets))
