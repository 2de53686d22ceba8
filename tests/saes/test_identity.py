"""SAEs that differ have fingerprints that differ; one SAE has one, whatever was called before and in any process."""

import functools
import subprocess
import sys
import threading
import types
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.contents import digest_of
from saebench_lite.saes.identity import fingerprint

G = torch.Generator().manual_seed(0)
W = torch.nn.functional.normalize(torch.randn(96, 32, generator=G))
SLOPE = 1.0


class Plain:
    """Codes above a threshold of tensors that are plain attributes."""

    d_in, d_sae = 32, 96

    def __init__(self, threshold=5.0, decoder=W):
        self.threshold, self.w_dec, self.meta = threshold, decoder, {"made": object()}

    def encode(self, x):
        pre = x @ W.T
        return torch.where(pre > self.threshold, pre * SLOPE, 0.0)

    def decode(self, f):
        return f @ self.w_dec


class Sparse(Plain):
    """Ten a row, so that few latents fire on a few rows."""

    def encode(self, x):
        values, latents = (x @ W.T).topk(2, dim=-1)
        return torch.zeros(len(x), self.d_sae).scatter(-1, latents, values.relu())


class Module(nn.Module, Plain):
    def __init__(self, threshold=5.0, hidden=1.0):
        nn.Module.__init__(self)
        Plain.__init__(self, threshold)
        self.register_buffer("scale", torch.tensor(hidden), persistent=False)


@dataclass
class Config:
    threshold: float
    device: str = "cpu"


class Configured(Plain):
    def __init__(self, threshold, device="cpu"):
        super().__init__()
        self.cfg, self.lock, self.thing = Config(threshold, device), threading.Lock(), types.SimpleNamespace(a=(1, {2}))

    def encode(self, x):
        pre = x @ W.T
        return torch.where(pre > self.cfg.threshold, pre, 0.0)


class Closed(Plain):
    """Holds nothing but functions."""

    def __init__(self, threshold):
        self.encode = lambda x: torch.where(x @ W.T > threshold, x @ W.T, 0.0)
        self.decode = functools.partial(lambda w, f: f @ w, W)


class Remembers(Plain):
    """Keeps a count, its last rows, a list that grows and what it needs once."""

    def __init__(self):
        super().__init__()
        self.calls, self.kept, self.seen = 0, None, []
        self.counts = np.zeros(1)

    @functools.cached_property
    def turned(self):
        return W.T.contiguous()

    def encode(self, x):
        self.calls += 1
        self.counts += 1
        self.last, self.seen = x, [*self.seen, x]
        self.kept = self.turned if self.kept is None else self.kept
        return (x @ self.kept).relu()


class Affine(AffineSAE):
    """Made from an SAE that knows its weights, and more than these."""

    def __init__(self, gain):
        super().__init__(W_enc=W.T, W_dec=W)
        self.gain = gain

    def encode(self, x):
        return super().encode(x) * self.gain


def rows_changed(count):
    other = W.clone()
    other[-count:] = 0
    return other


PAIRS = {
    "float of a module": lambda: (Module(5.0), Module(8.0)),
    "buffer outside the state": lambda: (Module(), Module(hidden=2.0)),
    "float of an object": lambda: (Plain(90.0), Plain(91.0)),
    "a decoder row": lambda: (Plain(), Plain(decoder=rows_changed(1))),
    "rows of latents that do not fire": lambda: (Sparse(), Sparse(decoder=rows_changed(40))),
    "configuration": lambda: (Configured(90.0), Configured(91.0)),
    "closure": lambda: (Closed(90.0), Closed(91.0)),
    "an added gain": lambda: (Affine(1.0), Affine(2.0)),
    "class": lambda: (Plain(), Sparse()),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_saes_that_differ_have_fingerprints_that_differ(pair):
    one, other = PAIRS[pair]()
    again, _ = PAIRS[pair]()
    assert fingerprint(one) == fingerprint(one) == fingerprint(again)
    assert fingerprint(one) != fingerprint(other)


def test_code_and_what_it_names_are_part_of_an_sae(monkeypatch):
    before = fingerprint(Plain(90.0))
    monkeypatch.setitem(globals(), "SLOPE", 2.0)
    assert fingerprint(Plain(90.0)) != before
    monkeypatch.undo()
    monkeypatch.setattr(Plain, "encode", lambda self, x: (x @ W.T - self.threshold).relu())
    assert fingerprint(Plain(90.0)) != before


def test_what_calls_change_a_device_and_facts_are_not():
    one = Remembers()
    before = fingerprint(one)
    for n in (3, 7):
        one.decode(one.encode(torch.randn(n, 32)))
    assert fingerprint(one) == before == fingerprint(Remembers())
    assert fingerprint(Configured(5.0, "cuda")) == fingerprint(Configured(5.0))
    assert fingerprint(AffineSAE(W_enc=W.T, W_dec=W)) == AffineSAE(W_enc=W.T, W_dec=W).fingerprint()


def test_a_hidden_state_is_known_by_what_it_does():
    """A compiled extension keeps weights where nothing reads them: here a generator does."""

    class Hidden(Plain):
        def __init__(self, decoder):
            super().__init__()
            self.w_dec = None
            self.kept = self._keep(decoder)
            next(self.kept)

        @staticmethod
        def _keep(decoder):
            f = yield
            while True:
                f = yield f @ decoder

        def decode(self, f):
            return torch.as_tensor(self.kept.send(f))

    assert fingerprint(Hidden(W)) == fingerprint(Hidden(W.clone())) != fingerprint(Hidden(rows_changed(1)))


def test_another_process_gives_the_same():
    code = (
        "from tests.saes.test_identity import *; print(fingerprint(Module()), fingerprint(Configured(5.0)),"
        " fingerprint(Closed(5.0)), digest_of(rows_changed, {'a', 'b', 'c'}))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    here = fingerprint(Module()), fingerprint(Configured(5.0)), fingerprint(Closed(5.0))
    assert told == [*here, digest_of(rows_changed, {"a", "b", "c"})]
