"""SAEBench sparse probing, its recorded permutations replayed call by call."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from saebench_lite.activations.pooling import pool_chunk
from saebench_lite.metrics.classification import accuracy
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.tasks._sparse_probing_fits import Problem, peer_margin
from tests.experiments.parity.rows import HOOK, Row, batches, read_json
from tests.reference.figures import ranking

PART = "SAEBench sparse probing"
KS = (1, 2, 5)


class Call(NamedTuple):
    """One training or test set that the peer drew."""

    label: str
    permutations: list[Tensor]
    "One for each other class, one for all negatives, one for all rows."


class Part(NamedTuple):
    """Pooled rows of one part of one dataset: {class: [texts, columns]}."""

    model: dict[str, Tensor]
    code: dict[str, Tensor]


def rows(root: Path, name: str, lm: LanguageModel, sae: AffineSAE) -> list[Row]:
    peer = read_json(root / "sparse_probing" / name / "result.json")
    calls = recorded(load_file(root / "sparse_probing" / name / "permutations.safetensors"))
    inputs = load_file(root / "sparse_probing" / "inputs.safetensors")
    out, means = [], {}
    for result, classes in peer["per_class"].items():
        dataset, labels = result.removesuffix("_results"), list(next(iter(classes.values())))
        parts = [pooled(lm, sae, inputs, dataset, part, labels) for part in ("train", "test")]
        for who, attribute in (("llm", "model"), ("sae", "code")):
            tables = [getattr(p, attribute) for p in parts]
            for k in (None, *KS):
                metric = f"{who}_test_accuracy" if k is None else f"{who}_top_{k}_test_accuracy"
                for label in labels:
                    train, test = (replay(next(calls), label, table) for table in tables)
                    if k is not None:
                        got = top_k(train, test, k)
                        means.setdefault(metric, {}).setdefault(dataset, []).append(got)
                        what = f"{dataset.split('/')[1]} {label}: {metric}"
                        out.append(Row(PART, name, what, classes[metric][label], got, 0.0051, "two of 400 rows"))
    for metric, found in means.items():
        overall = sum(sum(v) / len(v) for v in found.values()) / len(found)
        out.append(Row(PART, name, metric, peer["eval_result_metrics"][metric[:3]][metric], overall, 1e-3))
    return out


def recorded(permutations: dict[str, Tensor]):
    """Iterator over the calls in their order."""
    by_call: dict[str, Call] = {}
    for key in sorted(permutations):
        number, label, _ = key.split("|")
        by_call.setdefault(number, Call(label, [])).permutations.append(permutations[key].long())
    return iter(by_call.values())


def replay(call: Call, label: str, table: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Rows and labels of a call: as many negatives as positives, in equal shares from the other classes."""
    assert call.label == label, (call.label, label)
    others = [c for c in table if c != label]
    size = len(table[label])
    share = -(-size // len(others))
    pieces = zip(others, call.permutations[:-2], strict=True)
    negatives = torch.cat([table[c][order[:share]] for c, order in pieces])[call.permutations[-2]][:size]
    x = torch.cat([table[label], negatives])
    y = torch.arange(2 * size) < size
    return x[call.permutations[-1]], y[call.permutations[-1]]


def top_k(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], k: int) -> float:
    """Test accuracy of their probe on the k columns with the largest raw difference of means."""
    chosen = ranking(*train, "raw").argsort(descending=True)[:k]
    x, y = torch.cat([train[0], test[0]])[:, chosen], torch.cat([train[1], test[1]])
    problem = Problem("", 0, torch.arange(len(y)), y, len(train[1]))
    return accuracy(peer_margin(x, problem, "l2"), test[1]).item()


@torch.no_grad()
def pooled(
    lm: LanguageModel, sae: AffineSAE, inputs: dict[str, Tensor], dataset: str, part: str, labels: list[str]
) -> Part:
    """Means over real tokens of the activations and of the codes."""
    found = Part({}, {})
    for label in labels:
        ids, mask = (inputs[f"{dataset}|{part}|{label}|{n}"] for n in ("input_ids", "attention_mask"))
        model, code = [], []
        for batch in batches(lm, ids, mask, size=50):
            x = lm.collect(batch, [HOOK])[HOOK][batch.real]
            owner = torch.repeat_interleave(torch.arange(len(batch.ids)), batch.real.sum(1))
            model.append(pool_chunk(x, owner, len(batch.ids), "mean"))
            code.append(pool_chunk(sae.encode(x), owner, len(batch.ids), "mean"))
        found.model[label], found.code[label] = torch.cat(model), torch.cat(code)
    return found
