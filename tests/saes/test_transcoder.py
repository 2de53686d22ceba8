"""Transcoders: the skip connection, other widths, and what tasks make of them."""

from typing import Any

import pytest
import torch

from saebench_lite import registry
from saebench_lite.api.subject import SAESubject
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.conformance import check_sae
from saebench_lite.saes.protocol import reconstruct
from saebench_lite.saes.transcoder import Transcoder


def parts(d_out: int = 3) -> dict[str, Any]:
    g = torch.Generator().manual_seed(1)
    return {"W_enc": torch.randn(5, 7, generator=g), "W_dec": torch.randn(7, d_out, generator=g),
            "W_skip": torch.randn(5, d_out, generator=g), "b_dec": torch.randn(d_out, generator=g)}  # fmt: skip


def test_output_is_decoder_plus_skip():
    p = parts()
    sae = Transcoder(**p, subtract_b_dec=False)
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(2))
    f = sae.encode(x)
    want = torch.stack([(row.relu() @ p["W_dec"] + p["b_dec"]) for row in x @ p["W_enc"]])
    torch.testing.assert_close(sae.decode(f), want)
    torch.testing.assert_close(reconstruct(sae, x, f), want + x @ p["W_skip"])
    check_sae(sae, d_in=5)
    moved = sae.to("cpu")
    assert moved.fingerprint() == sae.fingerprint()
    assert moved.meta["transcoder"]
    sparse = f.topk(3).values, f.topk(3).indices
    few = torch.zeros_like(f).scatter(1, sparse[1], sparse[0])
    values, latents = few[few != 0], few.nonzero()[:, 1]
    starts = (few != 0).sum(1).cumsum(0) - (few != 0).sum(1)
    torch.testing.assert_close(sae.decode_bags(values, latents, starts, x), sae.decode_like(few, x))  # the skip too
    no_skip = Transcoder(**{k: t for k, t in p.items() if k != "W_skip"}, subtract_b_dec=False)
    assert no_skip.fingerprint() != sae.fingerprint()
    torch.testing.assert_close(reconstruct(no_skip, x, f), want)


def test_what_does_not_fit_is_named():
    p = parts()
    with pytest.raises(SaebenchError, match=r"W_skip has shape \[3, 5\] but \[5, 3\] is needed"):
        Transcoder(**p | {"W_skip": p["W_skip"].T}, subtract_b_dec=False)
    with pytest.raises(SaebenchError, match="W_skip holds NaN or Inf"):
        Transcoder(**p | {"W_skip": p["W_skip"] / 0}, subtract_b_dec=False)
    del p["W_skip"]
    with pytest.raises(SaebenchError, match=r"decoder has shape \[7, 3\]"):  # only a transcoder may write another width
        check_sae(AffineSAE(**p, subtract_b_dec=False))


@pytest.mark.parametrize("name", ["absorption", "ce_delta", "reconstruction"])
def test_tasks_that_compare_input_and_output_do_not_apply(name):
    task = registry.get("tasks", name)
    sae = Transcoder(**parts(5), subtract_b_dec=False)
    subject = SAESubject(name="t", kind="sae", fingerprint="f", sae=sae)
    with pytest.raises(NotApplicable, match="'t' is a transcoder"):
        task.evaluate(subject, None, None, task.config(), [42])


def test_groupmax_keeps_the_largest_of_each_group():
    """Seven groups would not divide twelve latents; three do: latents 0-3, 4-7, 8-11."""
    eye = torch.eye(12)
    sae = AffineSAE(W_enc=eye, W_dec=eye, activation="groupmax", k=3)
    x = torch.tensor([[1.0, 4, 2, 0, -1, -2, -3, -4, 5, 6, 7, 9]])
    want = torch.zeros(1, 12)
    want[0, 1], want[0, 11] = 4, 9  # the second group has no positive entry
    assert torch.equal(sae.encode(x), want)
    values, indices = sae.encode_sparse(x)
    assert (values.tolist(), indices.tolist()) == ([[4, 0, 9]], [[1, 4, 11]])
    assert torch.equal(sae.encode_latents(x, torch.tensor([11, 0])), want[:, [11, 0]])
    with pytest.raises(SaebenchError, match="a k that divides d_sae = 12, not 7"):
        AffineSAE(W_enc=eye, W_dec=eye, activation="groupmax", k=7)
