"""Products in pieces beside float64, what they change of codes, and where they stand in records."""

import pytest
import torch

import saebench_lite as sb
from saebench_lite.records.selection import site_title
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.protocol import encoding
from saebench_lite.saes.tensor_cores import Encode, Weights, bf16_pieces, code_differences, is_bf16, tf32_pieces
from saebench_lite.saes.wrapped import WrappedSAE
from tests.conftest import HOOK

G = torch.Generator().manual_seed(0)
D, M = 64, 256
W = torch.randn(D, M, generator=G) / 8
GENERAL = 3 * torch.randn(40, D, generator=G)
BF16 = GENERAL.bfloat16().float()
EXTRAS = {
    "identity": {},
    "relu": {},
    "topk": {"k": 8},
    "jumprelu": {"threshold": torch.rand(M, generator=G)},
    "gated": {"r_mag": 0.1 * torch.randn(M, generator=G), "b_mag": 0.1 * torch.randn(M, generator=G)},
}


def made(activation: str = "identity", **how: object) -> AffineSAE:
    biases = {"b_enc": torch.linspace(-1, 1, M), "b_dec": torch.linspace(-5, 5, D)}
    return AffineSAE(W_enc=W, W_dec=W.T, activation=activation, **biases, **EXTRAS[activation], **how)  # pyright: ignore[reportArgumentType]  (of many types)


def test_pieces_add_up_and_are_short():
    first, second, third = bf16_pieces(W)
    assert ((first.double() + second.double() + third.double() - W).abs() <= 2.0**-24 * W.abs()).all()
    high, low = tf32_pieces(W)
    assert ((high.double() + low.double() - W).abs() <= 2.0**-21 * W.abs()).all()
    for piece in (high, low):
        assert (piece.view(torch.int32) & 0x1FFF == 0).all()


@pytest.mark.parametrize("x", [GENERAL, BF16], ids=["float32", "bf16"])
@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize("normalize", ["none", "layer_norm"])
def test_three_products_keep_the_digits_and_one_does_not(x, subtract, normalize):
    sae = made(subtract_b_dec=subtract, normalize=normalize)
    want = sae.encode(x).double()
    assert is_bf16(x) == (x is BF16)
    spans: dict[Encode, tuple[float, float]] = {"float32": (0.0, 0.0), "tf32x3": (0.0, 2e-6), "bf16": (5e-4, 5e-3)}
    for by, (least, most) in spans.items():
        error = ((sae.encoding(by).encode(x) - want).norm() / want.norm()).item()
        assert least <= error <= most, by


@pytest.mark.parametrize("x", [GENERAL, BF16], ids=["float32", "bf16"])
@pytest.mark.parametrize("activation", list(EXTRAS))
def test_codes_of_every_activation_are_those_of_float32(activation, x):
    sae, some = made(activation), torch.tensor([3, 5, 200])
    got = sae.encoding("tf32x3")
    torch.testing.assert_close(got.encode(x), sae.encode(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(got.encode_latents(x, some), sae.encode_latents(x, some), rtol=1e-5, atol=1e-5)


def test_bf16_reads_rounded_numbers_alone():
    want = BF16.double() @ W.bfloat16().double()
    torch.testing.assert_close(Weights(W).product(BF16.bfloat16(), "bf16").double(), want, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(Weights(W).of_row(BF16[0], "bf16").double(), want[0], rtol=1e-5, atol=1e-5)


def test_the_way_of_encoding_is_no_part_of_an_sae_and_stays_with_it():
    sae = made("topk")
    other = sae.encoding("bf16")
    assert (sae.encode_by, other.encode_by, other.to("cpu").encode_by) == ("float32", "bf16", "bf16")
    assert other.fingerprint() == sae.fingerprint()
    around = encoding(WrappedSAE(sae, {}), "bf16")
    assert torch.equal(around.encode(GENERAL), other.encode(GENERAL))


def test_differences_of_codes():
    plain, codes = torch.tensor([[0.0, 3.0, 4.0, 1.0]]), torch.tensor([[1.0, 3.0, 4.0, 0.0]])
    got = code_differences(plain, codes)
    assert got["flipped"] == 0.5
    assert got["error"] == pytest.approx((2 / 26) ** 0.5)
    assert code_differences(plain, plain) == {"flipped": 0.0, "error": 0.0}


def test_a_record_says_how_its_sae_was_encoded(concepts):
    common = {"model": "pico", "hook": HOOK, "data": concepts, "tasks": "reconstruction", "baselines": []}
    cut = {"reconstruction": {"max_tokens": 300}}
    w = torch.nn.functional.normalize(torch.randn(64, 128, generator=G))
    sae = AffineSAE(W_enc=w.T, W_dec=w, activation="topk", k=4)
    plain, pieces, rounded = (
        sb.run({"s": sae}, settings=cut, encode=by, **common)[0] for by in ("auto", "tf32x3", "bf16")
    )
    assert "encode" not in plain.diagnostics
    assert plain.digest == pieces.digest != rounded.digest
    said = pieces.diagnostics["encode"]
    assert isinstance(said, dict)
    assert said["by"] == "tf32x3"
    assert said["error"] < 1e-5
    assert site_title(rounded).endswith("encoder bf16")
    assert "encoder" not in site_title(pieces)
