"""SAEs whose codes or sizes have other types are used through plain float32; facts become JSON types."""

import json
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch

from saebench_lite.saes.adapt import Float32SAE, adapted
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.conformance import check_sae, conforming
from saebench_lite.saes.identity import fingerprint
from saebench_lite.saes.protocol import decoder_of, json_types, meta_of, reconstruct


class Typed:
    """A ReLU SAE whose codes `change` turns into another type; `decode` insists on that type."""

    def __init__(self, change, size: Callable = int, meta=None):
        w = torch.nn.functional.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)))
        self.inner = AffineSAE(W_enc=w, W_dec=w.T)
        self.change, self.d_in, self.d_sae, self.meta = change, size(6), size(8), meta
        self.decoder = w.T

    def encode(self, x):
        return self.change(self.inner.encode(x))

    def decode(self, f):
        expected = self.change(torch.ones(1, 8))
        assert f.dtype == expected.dtype
        return self.inner.decode(f.float())


X = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.half(),
        lambda f: f.bfloat16(),
        lambda f: f.double(),
        lambda f: (4 * f).int(),
        lambda f: f > 0,
        lambda f: f.to_sparse(),
    ],
    ids=["float16", "bfloat16", "float64", "int", "bool", "sparse"],
)
def test_codes_of_other_types_are_used_as_float32(change):
    sae = Typed(change)
    check_sae(sae, d_in=6)
    plain = conforming(sae, d_in=6)
    codes = plain.encode(X)
    assert codes.dtype == torch.float32
    assert codes.layout == torch.strided
    expected = sae.encode(X)
    expected = (expected.to_dense() if expected.is_sparse else expected).float()
    assert torch.equal(codes, expected)
    torch.testing.assert_close(reconstruct(plain, X), sae.inner.decode(expected))
    assert fingerprint(plain) == fingerprint(sae)
    decoder = decoder_of(plain)
    assert decoder is not None
    assert torch.equal(decoder, sae.decoder)
    assert adapted(plain) is plain


def test_sizes_of_numpy_become_plain_integers_and_a_plain_sae_stays_itself():
    plain = conforming(Typed(lambda f: f, np.int64), d_in=6)
    assert (type(plain.d_in), type(plain.d_sae)) == (int, int)
    ordinary = Typed(lambda f: f)
    assert conforming(ordinary) is ordinary
    assert isinstance(conforming(Typed(lambda f: f.half())), Float32SAE)


class Silent:
    def __str__(self):
        raise ValueError


def test_facts_become_json_types():
    holds_itself = {}
    holds_itself["again"] = holds_itself
    meta = {
        "loss": float("nan"), "dtype": torch.float32, "from": Path("x"), "l0": np.float32(2), "n": np.int64(3),
        "ks": (1, 2), "flag": True, "none": None, 7: {"a", }, "t": torch.tensor(2.5), "w": torch.zeros(2, 3),
        "silent": Silent(), "half": "\ud800", "itself": holds_itself,
    }  # fmt: skip
    got = json_types(meta)
    json.dumps(got, allow_nan=False).encode()
    assert got["loss"] == "nan"
    assert (got["dtype"], got["from"], got["l0"], got["n"]) == ("torch.float32", "x", 2.0, 3)
    assert (got["ks"], got["flag"], got["none"], got["7"]) == ([1, 2], True, None, ["a"])
    assert (got["t"], got["w"], got["silent"], got["half"]) == (2.5, "tensor of shape [2, 3]", "Silent", "?")


@pytest.mark.parametrize(("meta", "expected"), [(None, {}), ("text", {}), (MappingProxyType({"a": 1}), {"a": 1})])
def test_what_an_sae_tells_of_itself(meta, expected):
    assert meta_of(Typed(lambda f: f, meta=meta)) == expected
