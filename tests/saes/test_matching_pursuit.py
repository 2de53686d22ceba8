"""Matching pursuit: hand-worked codes, a float64 loop, gradients, the folder format and its one-sentence errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import matching_pursuit
from saebench_lite.loading import open
from saebench_lite.recipes.train_sae import save
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.conformance import check_sae
from saebench_lite.saes.matching_pursuit import MatchingPursuitSAE, codes, pursue


def dictionary(m: int, d: int, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(m, d, generator=g), dim=1)


def sae(**changes) -> MatchingPursuitSAE:
    parts = {"W_dec": dictionary(12, 6), "b_dec": torch.arange(6.0) / 10, "k": 4, "meta": {"hook": "h"}}
    return MatchingPursuitSAE(**(parts | changes))


def test_the_recipe_script_saves_each_kind_in_its_format(tmp_path: Path) -> None:
    rows = dictionary(12, 6)
    affine = AffineSAE(W_enc=rows.T, W_dec=rows)
    for name, one in (("mp", sae()), ("affine", affine)):
        save(one, tmp_path / name, "float32")
        assert open.load(str(tmp_path / name)).fingerprint() == one.fingerprint()  # type: ignore[attr-defined]


def test_worked_examples() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    stops = MatchingPursuitSAE(W_dec=rows[:2], b_dec=torch.tensor([0.0, 1.0]), k=2)
    # (1, 3) - b = (1, 2): 2.2 along the second row; (-0.32, 0.24) is left, which no row points at
    assert torch.allclose(stops.encode(torch.tensor([[1.0, 3.0]])), torch.tensor([[0.0, 2.2]]), atol=1e-6)
    full = MatchingPursuitSAE(W_dec=rows, k=2)
    assert torch.allclose(full.encode(torch.tensor([[1.0, 2.0]])), torch.tensor([[0.0, 2.2, 0.24]]), atol=1e-6)


def test_codes_are_never_negative() -> None:
    one = MatchingPursuitSAE(W_dec=torch.tensor([[1.0, 0.0], [0.6, 0.8]]), k=2)
    assert one.encode(torch.tensor([[-1.0, -1.0]])).tolist() == [[0, 0]]


def test_a_latent_chosen_twice_accumulates() -> None:
    """(1, 1): 1 along a, 0.8 along b = (-0.6, 0.8), then (0.48, 0.36) is left: 0.48 along a again."""
    twice = MatchingPursuitSAE(W_dec=torch.tensor([[1.0, 0.0], [-0.6, 0.8]]), k=3)
    assert torch.allclose(twice.encode(torch.ones(1, 2)), torch.tensor([[1.48, 0.8]]), atol=1e-6)


@pytest.mark.parametrize("n", [1, 40])  # without and with the table of inner products
def test_codes_against_a_loop(n: int) -> None:
    one = sae()
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(1))
    rows = one.decoder.double().numpy()
    want = np.zeros((n, 12))
    for i, row in enumerate(x.double().numpy()):
        left = row - np.arange(6) / 10
        for _ in range(4):
            best = int(np.argmax(rows @ left))
            value = max(rows[best] @ left, 0)
            want[i, best] += value
            left = left - value * rows[best]
    assert np.allclose(one.encode(x).numpy(), want, atol=1e-5)
    assert np.allclose(one.decode(one.encode(x)).numpy(), want @ rows + np.arange(6) / 10, atol=1e-5)


def test_gradients_pass_through_the_chosen_values() -> None:
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    rows = dictionary(9, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, rows: codes(*pursue(x, rows, 3), 9), (x, rows))


def test_conforms_and_moves() -> None:
    one = sae()
    check_sae(one, d_in=6)
    assert one.to("cpu").fingerprint() == one.fingerprint()
    assert one.to("cpu").meta == {"hook": "h"}
    others = [sae(k=3), sae(b_dec=torch.zeros(6)), sae(W_dec=dictionary(12, 6, 1))]
    assert one.fingerprint() not in {o.fingerprint() for o in others}


def test_round_trip(tmp_path: Path) -> None:
    one = sae()
    matching_pursuit.save(one, tmp_path / "mp")
    again = open.load(str(tmp_path / "mp"))
    assert (getattr(again, "name", None), again.fingerprint(), again.meta) == ("mp", one.fingerprint(), one.meta)  # type: ignore[attr-defined]
    matching_pursuit.save(one, tmp_path / "half", "float16")
    assert torch.equal(matching_pursuit.load(tmp_path / "half").decoder, one.decoder.half().float())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"W_dec": torch.ones(6)}, "W_dec must be a matrix"),
        ({"W_dec": 2 * dictionary(12, 6)}, "norm off 1 by 1; matching pursuit needs unit rows"),
        ({"k": 0}, "at least 1 and at most 4096, not 0"),
        ({"b_dec": torch.zeros(5)}, r"b_dec has shape \[5\] but \[6\]"),
        ({"b_dec": torch.full((6,), torch.nan)}, "tensor b_dec holds NaN"),
    ],
)
def test_wrong_parts(changes: dict, sentence: str) -> None:
    with pytest.raises(SaebenchError, match=sentence):
        sae(**changes)


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ("{", "cannot be read"),
        ('{"format_version": 2, "k": 3}', "no header of version 1"),
        ('{"format_version": 1, "k": 2.5}', "no header of version 1"),
    ],
)
def test_wrong_header(tmp_path: Path, header: str, sentence: str) -> None:
    matching_pursuit.save(sae(), tmp_path)
    (tmp_path / "matching_pursuit.json").write_text(header)
    with pytest.raises(SaebenchError, match=sentence):
        matching_pursuit.load(tmp_path)


def test_wrong_tensors(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    matching_pursuit.save(sae(), tmp_path)
    save_file({"W_dec": dictionary(12, 6)}, tmp_path / "matching_pursuit.safetensors")
    with pytest.raises(SaebenchError, match="nothing else; see 'b_dec'"):
        matching_pursuit.load(tmp_path)
