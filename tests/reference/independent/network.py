"""A causal model in float64, read and spliced by forward hooks of this file's own, and an SAE read by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

SINK = 10.0
"A token is left out if its norm is more than this many times the median."


class Network:
    """A model at the output of one block: tokens, activations, logits with another activation put in."""

    def __init__(self, folder: str, block: int, sample: Sequence[str], front: str | None = None) -> None:
        loaded: Any = AutoModelForCausalLM.from_pretrained(folder)
        self.net: Any = loaded.to(torch.float64).eval().requires_grad_(False)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        lists = [m for m in self.net.modules() if isinstance(m, torch.nn.ModuleList)]
        self.block = max(lists, key=len)[block]
        self.front = None if front is None else int(self.tokenizer.convert_tokens_to_ids(front))
        t = self.tokenizer
        structure = {t.bos_token_id, t.eos_token_id, t.pad_token_id, t.cls_token_id, t.sep_token_id, self.front}
        self.special = (set(t.all_special_ids) - {t.unk_token_id}) | (structure - {None})
        self.limit = self._limit(sample)

    def ids(self, text: str) -> list[int]:
        """Token ids of a text, with the token that is put in front."""
        row = list(self.tokenizer(text)["input_ids"])
        return row if self.front is None else [self.front, *row]

    def _limit(self, sample: Sequence[str]) -> float:
        """The largest norm that is read: 10 times the (lower) median of real tokens, if any token is above that."""
        real, every = [], []
        for text in sample:
            ids = self.ids(text)[:64]
            norms = np.linalg.norm(self.activations(ids), axis=1)
            every += norms.tolist()
            real += [n for n, i in zip(norms, ids, strict=True) if i not in self.special]
        limit = SINK * sorted(real)[(len(real) - 1) // 2]
        return limit if max(every) > limit else float("inf")

    def activations(self, ids: Sequence[int]) -> np.ndarray:
        """Output of the block [L, d]."""
        kept: list[torch.Tensor] = []

        def keep(module: object, args: object, output: Any) -> None:
            kept.append(output[0] if isinstance(output, tuple) else output)

        handle = self.block.register_forward_hook(keep)
        try:
            self.net(torch.tensor([list(ids)]))
        finally:
            handle.remove()
        return kept[0].reshape(len(ids), -1).numpy()

    def log_probabilities(self, ids: Sequence[int], replacement: np.ndarray | None = None) -> np.ndarray:
        """Log-probabilities of the next token [L, V], with the block's output [L, d] replaced where one is given."""

        def put(module: object, args: object, output: Any) -> Any:
            if replacement is None:
                return output
            whole = torch.tensor(replacement)[None]
            return (whole, *output[1:]) if isinstance(output, tuple) else whole

        handle = self.block.register_forward_hook(put)
        try:
            logits = self.net(torch.tensor([list(ids)])).logits[0]
        finally:
            handle.remove()
        return logits.log_softmax(-1).numpy()

    def read(self, ids: Sequence[int], x: np.ndarray) -> np.ndarray:
        """Positions that statistics read [L] bool: real tokens that are no sinks, or else the last real one."""
        real = np.array([i not in self.special for i in ids])
        chosen = real & (np.linalg.norm(x, axis=1) <= self.limit)
        if not chosen.any():
            chosen[np.flatnonzero(real)[-1]] = True
        return chosen


@dataclass(frozen=True)
class Dictionary:
    """An SAE of the suite's own file format."""

    W_enc: np.ndarray
    W_dec: np.ndarray
    b_enc: np.ndarray
    b_dec: np.ndarray
    threshold: np.ndarray | None
    activation: str
    k: int | None
    centred: bool

    @classmethod
    def read(cls, folder: str | Path) -> Dictionary:
        """The SAE in a folder; matrices and vectors in float64."""
        header = json.loads((Path(folder) / "sae.json").read_text())
        assert header["normalize"] == "none"
        t = {name: a.astype(np.float64) for name, a in load_file(str(Path(folder) / "sae.safetensors")).items()}
        threshold = t.get("threshold")
        centred = bool(header["subtract_b_dec"])
        given = (t["W_enc"], t["W_dec"], t["b_enc"], t["b_dec"], threshold)
        return cls(*given, header["activation"], header["k"], centred)

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Codes [n, m] of activations [n, d]."""
        pre = (x - self.b_dec * self.centred) @ self.W_enc + self.b_enc
        if self.activation == "topk":
            assert self.k is not None
            least = np.sort(pre, axis=1)[:, -self.k][:, None]
            return np.where(pre >= least, np.maximum(pre, 0), 0.0)
        if self.activation == "jumprelu":
            return np.where(pre > self.threshold, np.maximum(pre, 0), 0.0)
        assert self.activation == "relu"
        return np.maximum(pre, 0)

    def decode(self, f: np.ndarray) -> np.ndarray:
        """Reconstructions [n, d] of codes [n, m]."""
        return f @ self.W_dec + self.b_dec
