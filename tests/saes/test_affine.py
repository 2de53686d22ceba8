"""The affine SAE against a float64 loop, and the checker's sentences."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from saebench_lite.errors import SaebenchError
from saebench_lite.saes.affine import AffineSAE, largest
from saebench_lite.saes.conformance import check_sae
from saebench_lite.saes.identity import fingerprint
from saebench_lite.saes.protocol import encode_latents, reconstruct


def build(activation: Any = "relu", d=5, m=9, seed=0, **kwargs) -> AffineSAE:
    g = torch.Generator().manual_seed(seed)
    parts = {"W_enc": (d, m), "W_dec": (m, d), "b_enc": (m,), "b_dec": (d,)}
    if activation == "jumprelu":
        parts["threshold"] = (m,)
    if activation == "gated":
        parts |= {"r_mag": (m,), "b_mag": (m,)}
    tensors = {name: torch.randn(*shape, generator=g) for name, shape in parts.items()}
    k = 3 if activation == "topk" else None
    return AffineSAE(**tensors, activation=activation, k=k, **kwargs)


def by_hand(sae: AffineSAE, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes and reconstruction of rows x in float64, one number at a time."""
    t = {name: v.double() for name, v in sae.tensors.items()}
    codes, outs = [], []
    for row in x.double():
        shift, scale, inner = 0.0, 1.0, row
        if sae.normalize == "layer_norm":
            shift, scale = row.mean(), ((row - row.mean()).square().sum() / (len(row) - 1)).sqrt()
            inner = (row - shift) / (scale + 1e-5)
        if sae.normalize == "constant_norm_rescale":
            scale = row.norm() / len(row) ** 0.5
            inner = row / scale
        u = inner - t["b_dec"] if sae.subtract_b_dec else inner
        product = torch.tensor([sum(float(u[i] * w) for i, w in enumerate(t["W_enc"][:, j])) for j in range(sae.d_sae)])
        product = product.double()
        pre = product + t["b_enc"]
        if sae.activation == "identity":
            f = pre
        elif sae.activation == "relu":
            f = pre.clamp(min=0)
        elif sae.activation == "jumprelu":
            f = torch.stack([p if p > th and p > 0 else p * 0 for p, th in zip(pre, t["threshold"], strict=True)])
        elif sae.activation == "gated":
            size = (torch.exp(t["r_mag"]) * product + t["b_mag"]).clamp(min=0)
            f = size * (pre > 0)
        else:
            keep = pre.argsort(descending=True)[: sae.k]
            f = torch.zeros_like(pre)
            f[keep] = pre[keep].clamp(min=0)
        codes.append(f)
        outs.append((f @ t["W_dec"] + t["b_dec"]) * scale + shift)
    return torch.stack(codes), torch.stack(outs)


@pytest.mark.parametrize("normalize", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize("activation", ["identity", "relu", "topk", "jumprelu", "gated"])
def test_formulas(activation, subtract, normalize):
    sae = build(activation, subtract_b_dec=subtract, normalize=normalize)
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(1)) * 3 + 1
    f, out = by_hand(sae, x)
    torch.testing.assert_close(sae.encode(x).double(), f, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(reconstruct(sae, x).double(), out, rtol=1e-4, atol=1e-4)
    check_sae(sae, d_in=5)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["identity", "relu", "topk", "jumprelu", "gated"]),
    st.integers(1, 6),
    st.integers(4, 12),
    st.integers(1, 9),
)
def test_subset_encoding_is_a_column_choice(activation, n, d, m):
    m = max(m, 3)
    sae = build(activation, d=d, m=m)
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(n))
    indices = torch.arange(m - 1, -1, -2)
    assert sae.encode(x).shape == (n, m)
    torch.testing.assert_close(encode_latents(sae, x, indices), sae.encode(x)[:, indices], rtol=1e-4, atol=1e-5)


def test_sparse_encoding_holds_the_same_codes():
    sae = build("topk")
    x = torch.randn(6, 5)
    values, indices = sae.encode_sparse(x)
    assert torch.equal(torch.zeros(6, 9).scatter(1, indices, values), sae.encode(x))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"W_dec": torch.zeros(5, 9)}, "W_dec has shape .* looks transposed"),
        ({"b_enc": torch.zeros(4)}, "b_enc has shape"),
        ({"W_enc": torch.full((5, 9), torch.nan)}, "W_enc holds NaN"),
        ({"activation": "jumprelu"}, "needs the tensors threshold"),
        ({"activation": "topk", "k": 10}, "needs k between 1 and d_sae = 9"),
        ({"activation": "topk", "k": 2.5}, "needs k between 1 and d_sae = 9, not 2.5"),
        ({"activation": "topk", "k": 10**5000}, r"needs k between 1 and d_sae = 9, not about 10\^5000"),
    ],
)
def test_weights_that_do_not_fit_are_named(change, sentence):
    parts = {"W_enc": torch.zeros(5, 9), "W_dec": torch.zeros(9, 5)} | change
    if parts["W_dec"].shape == (5, 9):
        parts["b_dec"] = torch.zeros(5)
        parts["W_enc"] = torch.zeros(5, 9)
    with pytest.raises(SaebenchError, match=sentence):
        AffineSAE(**parts)


class Plain(nn.Module):
    """A user's own SAE, nothing but the protocol."""

    def __init__(self, d: int = 6, m: int = 10) -> None:
        super().__init__()
        self.d_in, self.d_sae = d, m
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(d, m), nn.Linear(m, d)

    def encode(self, x):
        return self.a(x).relu()

    def decode(self, f):
        return self.b(f)


class Remembers(Plain):
    def encode(self, x):
        self.scale = x.std()
        return super().encode(x / self.scale)

    def decode(self, f):
        return super().decode(f) * self.scale


class BatchTopK(Plain):
    def encode(self, x):
        f = super().encode(x)
        return f * (f >= f.flatten().topk(2 * len(f)).values[-1])


class Noisy(Plain):
    def encode(self, x):
        return super().encode(x + torch.randn_like(x))


class Wide(Plain):
    def encode(self, x):
        return super().encode(x).T


class Broken(Plain):
    def encode(self, x):
        return super().encode(x) * float("nan")


class Transposed(Plain):
    @property
    def decoder(self):
        return self.b.weight


class Missing:
    d_in, d_sae = 6, 10


class InPlace(Plain):
    """Normalises what it is given, which others read too."""

    def encode(self, x):
        x /= x.norm(dim=-1, keepdim=True)
        return super().encode(x)


class DecodesInPlace(Plain):
    def decode(self, f):
        return super().decode(f.mul_(2))


class RaisesLater(Plain):
    """The third call of encode raises, without a message."""

    calls = 0

    def encode(self, x):
        self.calls += 1
        if self.calls > 2:
            raise RuntimeError
        return super().encode(x)


class Unreadable(Plain):
    @property
    def d_in(self):
        raise OSError("gone\nfor good")

    @d_in.setter
    def d_in(self, value):
        pass


class Complex(Plain):
    def encode(self, x):
        return super().encode(x).to(torch.complex64)


@pytest.mark.parametrize(
    ("sae", "sentence"),
    [
        (Missing(), "Missing has no 'encode'"),
        (Plain(d=7), r"reads 7 dimensions \(d_in\) but the hook point has 6"),
        (Remembers(), "decode depends on an earlier encode"),
        (BatchTopK(), "depend on the other rows of its batch"),
        (Noisy(), "different codes for the same input|other rows of its batch"),
        (Wide(), r"encode returned shape .* transposed"),
        (Broken(), "encode returned NaN or Inf"),
        (Transposed(), r"decoder has shape \[6, 10\] .* it is transposed"),
        (object(), "has no 'd_in'"),
        (InPlace(), r"encode writes to its input, .* \(x = x / c, not x /= c\)"),
        (DecodesInPlace(), "decode writes to its input"),
        (RaisesLater(), r"encode failed on a float32 tensor \[\d, 6\]: RuntimeError$"),
        (Unreadable(), r"Unreadable\.d_in cannot be read: OSError: gone$"),
        (Complex(), "encode returned torch.complex64 numbers where float32 was expected"),
    ],
    ids=lambda v: type(v).__name__ if not isinstance(v, str) else "",
)
def test_checker_says_what_is_wrong(sae, sentence):
    with pytest.raises(SaebenchError, match=sentence) as caught:
        check_sae(sae, d_in=6)
    assert "\n" not in str(caught.value)


def test_plain_module_conforms_and_has_a_fingerprint():
    check_sae(Plain(), d_in=6)
    one, two = Plain(), Plain()
    assert fingerprint(one) == fingerprint(two)
    with torch.no_grad():
        two.b.bias[0] += 1
    assert fingerprint(one) != fingerprint(two)
    a = build("relu")
    assert a.fingerprint() == build("relu").fingerprint() != build("identity").fingerprint()


@pytest.mark.parametrize(("m", "k"), [(4096, 1), (4096, 32), (1024, 64), (1024, 65), (8192, 200), (4100, 7), (64, 5)])
@pytest.mark.parametrize("levels", [None, 3])
def test_largest_finds_what_topk_finds(m, k, levels):
    pre = torch.randn(6, m, generator=torch.Generator().manual_seed(m + k))
    if levels:  # many ties, also across the runs
        pre = (pre * levels).round()
    values, indices = largest(pre, k)
    assert torch.equal(values.sort(-1).values, pre.topk(k, -1).values.flip(-1))
    assert torch.equal(pre.gather(-1, indices), values)
    assert all(len(row.unique()) == k for row in indices)
    alone = [largest(row[None], k)[1] for row in pre]
    assert torch.equal(torch.cat(alone), indices)
