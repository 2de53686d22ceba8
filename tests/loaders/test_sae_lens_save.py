"""SAELens' layout as we write it: read back by our loader, and equal to its formulas."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import sae_lens
from saebench_lite.saes.affine import Activation, AffineSAE, Normalisation
from tests.helpers.random_affine import D, random_affine

META = {"model": "gpt2", "hook": "blocks.3.hook_resid_pre", "recipe": {"architecture": "batchtopk", "l0": 3}}


def sae(activation: Activation, normalize: Normalisation = "none", subtract_b_dec: bool = True) -> AffineSAE:
    return random_affine(activation, normalize, subtract_b_dec, META)


@pytest.mark.parametrize("activation", ["relu", "topk", "jumprelu", "gated"])
@pytest.mark.parametrize("normalize", ["none", "layer_norm"])
@pytest.mark.parametrize("subtract_b_dec", [True, False])
def test_what_is_written_is_read_back(tmp_path: Path, activation, normalize, subtract_b_dec):
    ours = sae(activation, normalize, subtract_b_dec)
    back = sae_lens.load(sae_lens.save(ours, tmp_path / "sae"))
    x = torch.randn(40, D, generator=torch.Generator().manual_seed(4))
    assert torch.equal(back.encode(x), ours.encode(x))
    assert torch.equal(back.decode(back.encode(x)), ours.decode(ours.encode(x)))
    assert (back.meta["model"], back.meta["hook"]) == ("gpt2", "blocks.3.hook_resid_pre")
    assert back.meta["architecture"] == "batchtopk"


def test_a_gated_one_has_the_tensors_of_its_formula(tmp_path: Path):
    ours = sae("gated")
    folder = sae_lens.save(ours, tmp_path / "sae")
    t = load_file(folder / "sae_weights.safetensors")
    x = torch.randn(40, D, generator=torch.Generator().manual_seed(4))
    centred = x - t["b_dec"]
    gate = centred @ t["W_enc"] + t["b_gate"] > 0
    magnitude = (centred @ (t["W_enc"] * t["r_mag"].exp()) + t["b_mag"]).relu()
    torch.testing.assert_close(gate * magnitude, ours.encode(x))


def test_topk_says_its_k(tmp_path: Path):
    cfg = json.loads((sae_lens.save(sae("topk"), tmp_path / "sae") / "cfg.json").read_text())
    assert (cfg["architecture"], cfg["k"], cfg["apply_b_dec_to_input"]) == ("topk", 3, True)


def test_what_saelens_lacks_is_a_sentence(tmp_path: Path):
    with pytest.raises(SaebenchError, match="no layout for activation 'identity'; there are relu, topk"):
        sae_lens.save(sae("identity"), tmp_path / "sae")
    large = sae("relu")
    large.tensors["W_enc"] = large.tensors["W_enc"] * 1e6
    with pytest.raises(SaebenchError, match="too much for float16; save it as float32"):
        sae_lens.save(large, tmp_path / "sae", "float16")


@pytest.mark.parametrize("activation", ["relu", "topk", "jumprelu", "gated"])
def test_saelens_itself_reads_it(tmp_path: Path, activation):
    theirs = pytest.importorskip("sae_lens").SAE.load_from_disk(str(sae_lens.save(sae(activation), tmp_path / "sae")))
    ours, x = sae(activation), torch.randn(40, D, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        torch.testing.assert_close(theirs.encode(x), ours.encode(x))
        torch.testing.assert_close(theirs.decode(theirs.encode(x)), ours.decode(ours.encode(x)))
