"""Loaders against the outputs of the libraries that wrote the files, and against damaged files."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import native, sae_lens
from saebench_lite.loading.open import load
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.conformance import check_sae
from saebench_lite.saes.protocol import encode_latents, reconstruct

ALL = Path(__file__).parents[1] / "fixtures"
FIXTURES = ALL / "sae_lens"
MORE = os.environ.get("SAEBENCH_LITE_SAE_FORMATS")


def folders(root: Path) -> list[Path]:
    return sorted(p.parent for p in root.rglob("expected.safetensors"))


def name_of(folder: Path) -> str:
    return "/".join(folder.parts[-3:])


def agrees_with_the_library(folder: Path) -> None:
    sae = load(str(folder))
    expected = load_file(folder / "expected.safetensors")
    prefix = "inference_" if "inference_feature_acts" in expected else ""
    x, want = expected["x"], expected[prefix + "reconstruction"]
    f = sae.encode(x)
    torch.testing.assert_close(f, expected[prefix + "feature_acts"], rtol=1e-4, atol=1e-5)
    assert torch.equal(f != 0, expected[prefix + "feature_acts"] != 0)
    if "forward_sae_out" in expected:  # sparsify: what its decode gives, and the whole output
        torch.testing.assert_close(sae.decode(f), want, rtol=1e-4, atol=1e-5)
        want = expected["forward_sae_out"]
    torch.testing.assert_close(reconstruct(sae, x, f), want, rtol=1e-4, atol=1e-5)
    every = torch.arange(128)
    torch.testing.assert_close(encode_latents(sae, x, every[::3]), f[:, ::3], rtol=1e-4, atol=1e-5)
    check_sae(sae, d_in=32)
    assert isinstance(sae, AffineSAE)
    assert {"format", "architecture", "inference", "normalize", "hook", "model"} <= set(sae.meta)
    json.dumps(sae.meta, allow_nan=False)


@pytest.mark.parametrize("folder", folders(ALL), ids=name_of)
def test_folder_gives_the_librarys_own_outputs(folder):
    agrees_with_the_library(folder)


@pytest.mark.skipif(not MORE, reason="SAEBENCH_LITE_SAE_FORMATS names no folder of formats")
@pytest.mark.parametrize("folder", folders(Path(MORE)) if MORE else [], ids=name_of)
def test_every_folder_of_formats(folder):
    agrees_with_the_library(folder)


def test_facts_are_kept():
    sae = sae_lens.load(FIXTURES / "batchtopk")
    assert sae.meta["architecture"] == "batchtopk"
    assert sae.meta["hook"] == "blocks.1.hook_resid_post"
    assert sae_lens.load(FIXTURES / "legacy_v5_topk").k == 8


def edited(tmp_path: Path, source: str = "standard", drop: str | None = None, **cfg) -> Path:
    folder = tmp_path / source
    shutil.copytree(FIXTURES / source, folder)
    content = json.loads((folder / "cfg.json").read_text()) | cfg
    (folder / "cfg.json").write_text(json.dumps(content))
    if drop:
        tensors = load_file(folder / "sae_weights.safetensors")
        del tensors[drop]
        save_file(tensors, folder / "sae_weights.safetensors")
    return folder


@pytest.mark.parametrize(
    ("source", "change", "sentence"),
    [
        ("standard", {"architecture": "transcoder"}, "architecture 'transcoder' is not supported"),
        ("standard", {"normalize_activations": "odd"}, "normalize_activations 'odd' is not supported"),
        ("standard", {"hook_head_index": 3}, "hook_head_index = 3 is not supported"),
        ("standard", {"drop": "W_dec"}, "lacks the matrix W_dec"),
        ("standard", {"drop": "b_dec"}, "lacks the tensor b_dec"),
        ("jumprelu", {"drop": "threshold"}, "neither threshold nor topk_threshold"),
        ("topk", {"k": None}, "topk SAE needs k"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, source, change, sentence):
    with pytest.raises(SaebenchError, match=sentence):
        sae_lens.load(edited(tmp_path, source, **change))


def test_truncated_and_poisoned_weights(tmp_path):
    folder = edited(tmp_path)
    data = (folder / "sae_weights.safetensors").read_bytes()
    (folder / "sae_weights.safetensors").write_bytes(data[:1000])
    with pytest.raises(SaebenchError, match="cannot be read"):
        sae_lens.load(folder)
    (folder / "sae_weights.safetensors").write_bytes(data)
    tensors = load_file(folder / "sae_weights.safetensors")
    tensors["W_enc"][0, 0] = float("nan")
    save_file(tensors, folder / "sae_weights.safetensors")
    with pytest.raises(SaebenchError, match="tensor W_enc holds NaN"):
        sae_lens.load(folder)
    (folder / "cfg.json").write_text("{")
    with pytest.raises(SaebenchError, match=r"cfg\.json cannot be read"):
        sae_lens.load(folder)


def some_sae(**kwargs) -> AffineSAE:
    g = torch.Generator().manual_seed(0)
    parts = {"W_enc": torch.randn(6, 20, generator=g), "W_dec": torch.randn(20, 6, generator=g)}
    return AffineSAE(**parts, b_dec=torch.randn(6, generator=g), meta={"architecture": "relu"}, **kwargs)


def test_native_folder_round_trip(tmp_path):
    sae = some_sae(activation="jumprelu", threshold=torch.rand(20) / 3)
    back = native.load(native.save(sae, tmp_path / "mine"))
    assert back.fingerprint() == sae.fingerprint()
    assert back.meta == sae.meta
    half = native.load(native.save(sae, tmp_path / "half", "float16"))
    assert torch.equal(half.tensors["threshold"], sae.tensors["threshold"])  # thresholds never lose bits
    torch.testing.assert_close(half.W_dec, sae.W_dec, rtol=1e-3, atol=1e-3)


def test_native_folder_errors(tmp_path):
    folder = native.save(some_sae(), tmp_path / "mine")
    header = json.loads((folder / "sae.json").read_text())
    (folder / "sae.json").write_text(json.dumps(header | {"format_version": 9}))
    with pytest.raises(SaebenchError, match="not a saebench-lite header of version 1"):
        native.load(folder)
    del header["k"]
    (folder / "sae.json").write_text(json.dumps(header))
    with pytest.raises(SaebenchError, match="lacks 'k'"):
        native.load(folder)
