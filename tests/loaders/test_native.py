"""The native format: round trips, and one sentence for each way a folder can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import native
from saebench_lite.saes.affine import AffineSAE


def make(activation: str = "relu", **extra) -> AffineSAE:
    g = torch.Generator().manual_seed(3)
    vectors = {"jumprelu": ["threshold"], "gated": ["r_mag", "b_mag"]}.get(activation, [])
    tensors = {name: torch.rand(7, generator=g) for name in [*vectors, "b_enc"]}
    return AffineSAE(
        W_enc=torch.randn(4, 7, generator=g),
        W_dec=torch.randn(7, 4, generator=g),
        b_dec=torch.randn(4, generator=g),
        activation=activation,  # type: ignore[arg-type]
        k=3 if activation == "topk" else None,
        **tensors,
        **extra,
    )


def edit_header(folder: Path, drop: str | None = None, **changes) -> None:
    header = json.loads((folder / "sae.json").read_text())
    header.pop(drop, None)
    (folder / "sae.json").write_text(json.dumps(header | changes))


def edit_tensors(folder: Path, drop: str | None = None, **changes: torch.Tensor) -> None:
    tensors = load_file(folder / "sae.safetensors")
    if drop is not None:
        del tensors[drop]
    save_file(tensors | changes, folder / "sae.safetensors")


@pytest.mark.parametrize("activation", ["identity", "relu", "topk", "jumprelu", "gated"])
def test_float32_round_trip_is_exact(tmp_path: Path, activation: str) -> None:
    sae = make(activation, subtract_b_dec=False, normalize="layer_norm", meta={"hook": "blocks.0.hook_resid_post"})
    again = native.load(native.save(sae, str(tmp_path / "a")))  # a path in words too
    assert again.fingerprint() == sae.fingerprint()
    assert (again.settings(), again.meta) == (sae.settings(), sae.meta)


def test_float16_rounds_matrices_only(tmp_path: Path) -> None:
    sae = make("jumprelu")
    again = native.load(native.save(sae, tmp_path / "a", "float16"))
    stored = load_file(tmp_path / "a" / "sae.safetensors")
    assert stored["W_dec"].dtype == torch.float16
    for name, tensor in sae.tensors.items():
        assert again.tensors[name].dtype == torch.float32
        want = tensor.half().float() if tensor.ndim == 2 else tensor
        assert torch.equal(again.tensors[name], want)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_any_float_loads_as_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    sae = make()
    native.save(sae, tmp_path)
    edit_tensors(tmp_path, W_dec=sae.W_dec.to(dtype))
    assert torch.equal(native.load(tmp_path).W_dec, sae.W_dec.to(dtype).float())


def test_save_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    native.save(make("topk"), tmp_path)
    native.save(make("gated"), tmp_path)
    assert native.load(tmp_path).activation == "gated"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sae.json", "sae.safetensors"]


def test_save_refuses_what_float16_cannot_hold(tmp_path: Path) -> None:
    sae = make()
    sae.W_dec[2, 1] = 1e6
    with pytest.raises(SaebenchError, match=r"W_dec reaches 1e\+06, too much for float16"):
        native.save(sae, tmp_path / "a", "float16")
    assert not (tmp_path / "a").exists()
    assert native.load(native.save(sae, tmp_path / "a", "float32")).W_dec[2, 1] == 1e6


def test_recognise(tmp_path: Path) -> None:
    native.save(make(), tmp_path / "a")
    assert native.LOADER.recognise(tmp_path / "a")
    assert not native.LOADER.recognise(tmp_path)
    assert not native.LOADER.recognise(tmp_path / "a" / "sae.json")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"activation": "softmax"}, "activation = 'softmax'; choose from identity"),
        ({"normalize": "zscore"}, "normalize = 'zscore'; choose from none"),
        ({"k": "3"}, "k = '3'; a whole number"),
        ({"k": True}, "k = True; a whole number"),
        ({"subtract_b_dec": "no"}, "subtract_b_dec = 'no'; true or false"),
        ({"meta": [1]}, r"meta = \[1\]; an object"),
        ({"colour": 1}, "unknown key 'colour'"),
        ({"drop": "normalize"}, "lacks 'normalize'"),
        ({"format_version": 2}, "not a saebench-lite header of version 1"),
        ({"format": "other"}, "not a saebench-lite header of version 1"),
        ({"activation": "topk"}, "needs k between 1 and d_sae = 7, not None"),
        ({"activation": "jumprelu"}, "needs the tensors threshold"),
    ],
)
def test_wrong_header(tmp_path: Path, changes: dict, sentence: str) -> None:
    native.save(make(), tmp_path)
    edit_header(tmp_path, **changes)
    with pytest.raises(SaebenchError, match=sentence):
        native.load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"W_up": torch.zeros(2)}, "unknown tensor 'W_up'"),
        ({"drop": "W_dec"}, "lacks the tensor 'W_dec'"),
        ({"W_enc": torch.zeros(4, 7, dtype=torch.int32)}, "W_enc of .* holds I32 numbers"),
        ({"W_dec": torch.zeros(4, 7)}, r"W_enc \[4, 7\] and W_dec \[4, 7\] .* do not fit"),
        ({"W_enc": torch.zeros(28)}, r"W_enc \[28\] and W_dec"),
        ({"b_enc": torch.zeros(6)}, r"b_enc has shape \[6\] but \[7\] is needed"),
        ({"b_dec": torch.full((4,), torch.nan)}, "b_dec holds NaN or Inf"),
    ],
)
def test_wrong_tensors(tmp_path: Path, changes: dict, sentence: str) -> None:
    native.save(make(), tmp_path)
    edit_tensors(tmp_path, **changes)
    with pytest.raises(SaebenchError, match=sentence):
        native.load(tmp_path)


def test_damaged_files(tmp_path: Path) -> None:
    folder = native.save(make(), tmp_path / "a")
    weights = (folder / "sae.safetensors").read_bytes()
    (folder / "sae.safetensors").write_bytes(weights[:-5])
    with pytest.raises(SaebenchError, match=r"a/sae.safetensors cannot be read .* copy the folder again"):
        native.load(folder)
    (folder / "sae.json").write_bytes(b"\xff{")
    with pytest.raises(SaebenchError, match=r"a/sae.json cannot be read"):
        native.load(folder)
    with pytest.raises(SaebenchError, match=r"b/sae.json cannot be read"):
        native.load(tmp_path / "b")


def test_absurd_size_is_refused_before_allocation(tmp_path: Path) -> None:
    """A header that promises 4 TB over a file of a few bytes."""
    native.save(make(), tmp_path)
    size = (1 << 20) * (1 << 20) * 4
    header = {"W_enc": {"dtype": "F32", "shape": [1 << 20, 1 << 20], "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    (tmp_path / "sae.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 16)
    with pytest.raises(SaebenchError, match="cannot be read"):
        native.load(tmp_path)
