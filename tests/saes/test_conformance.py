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
