"""What an SAE is tried on, and directions that are no tensor."""

import numpy as np
import pytest
import torch

import saebench_lite as sb
from saebench_lite.errors import SaebenchError
from saebench_lite.runs.inspect_sae import inspect_sae
from saebench_lite.saes.affine import AffineSAE

ROWS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def made() -> AffineSAE:
    return AffineSAE(W_enc=ROWS.T, W_dec=ROWS)


class Bare:
    """The four members and directions of any type."""

    d_in, d_sae = 4, 6

    def __init__(self, decoder) -> None:
        self.decoder = decoder

    def encode(self, x):
        return (x @ ROWS.T).relu()

    def decode(self, f):
        return f @ ROWS


class InPlace(Bare):
    def encode(self, x):
        return super().encode(x.add_(1))


@pytest.mark.parametrize("decoder", [ROWS.numpy(), ROWS.tolist()], ids=["ndarray", "list"])
def test_directions_that_are_no_tensor_are_named(decoder):
    sentence = f"decoder is a {type(decoder).__name__}; give a tensor [d_sae, d_in]"
    with pytest.raises(SaebenchError) as caught:
        sb.check_sae(Bare(decoder))
    assert str(caught.value) == sentence
    assert inspect_sae(Bare(decoder))["verdict"] == sentence
    for usable in (ROWS, None, torch.nn.Linear(6, 4)):
        sb.check_sae(Bare(usable))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_a_sample_of_numpy_is_read(dtype):
    sample = np.random.default_rng(0).normal(size=(9, 4)).astype(dtype)
    sb.check_sae(made(), sample=sample)
    kept = sample.copy()
    with pytest.raises(SaebenchError, match="encode writes to its input"):
        sb.check_sae(InPlace(None), sample=kept)
    assert (kept == sample).all()


@pytest.mark.parametrize(
    ("sample", "sentence"),
    [
        (torch.zeros(0, 4), r"sample has shape \[0, 4\]; give activations \[n, 4\], n at least 5"),
        (torch.zeros(4, 4), r"sample has shape \[4, 4\]; give"),
        (np.zeros((9, 5)), r"sample has shape \[9, 5\]; give"),
        (np.zeros(4), r"sample has shape \[4\]; give"),
        (torch.full((9, 4), float("nan")), "sample holds NaN or Inf; give finite activations"),
        ("text", "sample cannot be read as a tensor: "),
    ],
)
def test_what_is_no_sample_is_a_sentence(sample, sentence):
    with pytest.raises(SaebenchError, match=f"^{sentence}"):
        sb.check_sae(made(), sample=sample)


class Scaled(Bare):
    """Reconstructs at the norm of the rows, so that what a latent writes has another length than its direction."""

    def decode_like(self, f, x):
        return self.decode(f) * x.norm(dim=-1, keepdim=True)


class Half(Bare):
    """In sixteen bits, with a bias much larger than what a latent writes."""

    dtype = torch.float16

    def encode(self, x):
        return super().encode(x).to(self.dtype)

    def decode(self, f):
        return (f @ ROWS.to(self.dtype)) + 100


class Brain(Half):
    dtype = torch.bfloat16


class Bent(Bare):
    """No direction is that of a latent: it depends on how strong the latent is."""

    def decode(self, f):
        out = f @ ROWS
        return torch.cat([out[:, :2], out[:, 2:].square()], 1)


@pytest.mark.parametrize("kind", [Bare, Scaled, Half, Brain])
def test_directions_are_those_that_decode_writes(kind):
    sb.check_sae(kind(ROWS))
    sb.check_sae(kind(3 * ROWS))
    for wrong in (ROWS.flip(0), -ROWS, ROWS.abs(), torch.cat([ROWS[:5], ROWS[:1]])):
        with pytest.raises(SaebenchError, match=r"decoder is not what decode uses: latent \d writes a"):
            sb.check_sae(kind(wrong))


def test_directions_of_a_decoder_that_bends_are_not_judged():
    sb.check_sae(Bent(ROWS))


class KeepsNorms(Bare):
    def encode(self, x):
        self.norm = x.norm(dim=-1, keepdim=True)
        return super().encode(x / self.norm)

    def decode(self, f):
        return super().decode(f) * self.norm


@pytest.mark.parametrize("sample", [None, torch.arange(20.0).reshape(5, 4)], ids=["random", "few"])
def test_what_encode_leaves_for_decode_is_named(sample):
    with pytest.raises(SaebenchError, match=r"^decode depends on an earlier encode; carry what it needs in"):
        sb.check_sae(KeepsNorms(None), sample=sample)


class OfItsOwnType(Bare):
    def __init__(self, at):
        super().__init__(None)
        self.weights, self.at = ROWS.bfloat16(), at

    def encode(self, x):
        return x @ self.weights.T if self.at == "encode" else super().encode(x)

    def decode(self, f):
        return f @ self.weights if self.at == "decode" else super().decode(f)


@pytest.mark.parametrize("at", ["encode", "decode"])
def test_weights_of_another_type_are_named_with_the_way_out(at):
    sentence = rf"^{at} failed on a float32 tensor .*; some of its weights are torch.bfloat16 and rows come in"
    with pytest.raises(SaebenchError, match=sentence):
        sb.check_sae(OfItsOwnType(at))
