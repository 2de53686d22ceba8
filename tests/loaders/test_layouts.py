"""Layouts without a file of their library at hand: files built from known weights, against the documented formulas."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from saebench_lite.errors import SaebenchError
from saebench_lite.loading.open import load
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.conformance import check_sae
from saebench_lite.saes.protocol import reconstruct

D, M = 6, 20


def draw(seed: int = 0, d_in: int = D, d_out: int = D, m: int = M) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    sizes = {"W_enc": (d_in, m), "W_dec": (m, d_out), "b_enc": (m,), "b_dec": (d_out,), "W_skip": (d_in, d_out)}
    out = {name: torch.randn(size, generator=g) for name, size in sizes.items()}
    return out | {"threshold": torch.rand(m, generator=g), "x": torch.randn(11, d_in, generator=g) + 0.3}


def opened(path: Path) -> AffineSAE:
    sae = load(str(path))
    check_sae(sae)
    assert isinstance(sae, AffineSAE)
    return sae


def agrees(sae: AffineSAE, x: torch.Tensor, f: torch.Tensor, out: torch.Tensor) -> None:
    assert 0 < (f != 0).float().mean() < 1
    torch.testing.assert_close(sae.encode(x).double(), f, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(reconstruct(sae, x).double(), out, rtol=1e-4, atol=1e-5)


def doubles(w: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    return [w[name].double() for name in ("x", "W_enc", "b_enc", "W_dec", "b_dec")]


def jumprelu(pre: torch.Tensor, threshold: torch.Tensor | float) -> torch.Tensor:
    return torch.where((pre > threshold) & (pre > 0), pre, 0.0)


def write(folder: Path, name: str, tensors: dict[str, torch.Tensor], config: str = "", cfg: dict | None = None) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    save_file({k: t.contiguous() for k, t in tensors.items()}, folder / name)
    if config:
        (folder / config).write_text(json.dumps(cfg))
    return folder


def gemma_2_tensors(w: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k.lower(): w[k] for k in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")}


def test_gemma_scope_2_without_config(tmp_path):
    w = draw()
    where = tmp_path / "gemma-scope-2-1b-pt" / "resid_post" / "layer_13_width_16k_l0_big"
    sae = opened(write(where, "params.safetensors", gemma_2_tensors(w)))
    x, W_enc, b_enc, W_dec, b_dec = doubles(w)
    f = jumprelu(x @ W_enc + b_enc, w["threshold"].double())
    agrees(sae, w["x"], f, f @ W_dec + b_dec)
    facts = {k: sae.meta[k] for k in ("hook", "model", "layer", "width", "l0_label")}
    assert facts == {"hook": "blocks.13.hook_resid_post", "model": "google/gemma-3-1b-pt", "layer": 13, "width": "16k",
                     "l0_label": "big"}  # fmt: skip


def test_gemma_scope_2_transcoder(tmp_path):
    """The affine skip is x @ W as stored; hooks from the config."""
    w = draw(1)
    cfg = {"hf_hook_point_in": "model.layers.7.pre_feedforward_layernorm.output", "l0": 60,
           "hf_hook_point_out": "model.layers.7.post_feedforward_layernorm.output"}  # fmt: skip
    tensors = gemma_2_tensors(w) | {"affine_skip_connection": w["W_skip"]}
    sae = opened(write(tmp_path / "a", "params.safetensors", tensors, "config.json", cfg))
    x, W_enc, b_enc, W_dec, b_dec = doubles(w)
    f = jumprelu(x @ W_enc + b_enc, w["threshold"].double())
    agrees(sae, w["x"], f, f @ W_dec + b_dec + x @ w["W_skip"].double())
    assert sae.meta["transcoder"]
    assert (sae.meta["hook_in"], sae.meta["hook_out"]) == (
        "model.layers.7.pre_feedforward_layernorm", "blocks.7.hook_mlp_out")  # fmt: skip
    assert sae.meta["published_l0"] == 60
    moved = sae.to("cpu")
    torch.testing.assert_close(reconstruct(moved, w["x"]), reconstruct(sae, w["x"]))
    w_clt = tensors | {"b_enc": torch.zeros(3, M), "w_enc": torch.zeros(3, D, M)}
    with pytest.raises(SaebenchError, match="only SAEs of one layer"):
        load(str(write(tmp_path / "clt", "params.safetensors", w_clt)))


LLAMA = {"d_model": D, "d_sae": M, "hook_point_in": "blocks.8.hook_resid_post", "act_fn": "jumprelu", "top_k": 50,
         "hook_point_out": "blocks.8.hook_resid_post", "norm_activation": "dataset-wise", "use_glu_encoder": False,
         "apply_decoder_bias_to_pre_encoder": False, "sparsity_include_decoder_norm": True}  # fmt: skip


def linear(w: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "decoder.weight": w["W_dec"].T,
            "decoder.bias": w["b_dec"]}  # fmt: skip


@pytest.mark.parametrize(("norm_in", "norm_out"), [(6.3125, 6.3125), (3.0, 0.75)])
def test_llama_scope(tmp_path, norm_in, norm_out):
    """Normalised frame: x * s_in; jump where pre * |decoder row| / s_out passes the threshold; output / s_out."""
    w = draw(2)
    out_hook = "blocks.8.hook_resid_post" if norm_in == norm_out else "blocks.8.hook_mlp_out"
    cfg = LLAMA | {"jump_relu_threshold": 0.4, "hook_point_out": out_hook,
                   "dataset_average_activation_norm": {"in": norm_in, "out": norm_out}}  # fmt: skip
    sae = opened(write(tmp_path, "checkpoints/final.safetensors", linear(w), "hyperparams.json", cfg))
    x, W_enc, b_enc, W_dec, b_dec = doubles(w)
    s_in, s_out = D**0.5 / norm_in, D**0.5 / norm_out
    pre, norms = (x * s_in) @ W_enc + b_enc, W_dec.norm(dim=1)
    f = jumprelu(pre * norms / s_out, 0.4)
    agrees(sae, w["x"], f, ((f * s_out / norms) @ W_dec + b_dec) / s_out)
    assert sae.meta.get("transcoder", False) == (norm_in != norm_out)
    torch.testing.assert_close(sae.decoder.norm(dim=1), torch.ones(M))


def test_llama_scope_r1_distill(tmp_path):
    """Log thresholds of the normalised frame; norms stored among the tensors."""
    w = draw(3)
    hook = LLAMA["hook_point_in"]
    tensors = linear(w) | {"log_jumprelu_threshold": w["threshold"].log(),
                           f"dataset_average_activation_norm.{hook}": torch.tensor(4.0)}  # fmt: skip
    for unit in (True, False):
        cfg = LLAMA | {"sparsity_include_decoder_norm": unit, "jump_relu_threshold": 77.0}
        folder = write(tmp_path / f"L14R{unit}", "sae_weights.safetensors", tensors, "config.json", cfg)
        sae = opened(folder)
        x, W_enc, b_enc, W_dec, b_dec = doubles(w)
        s, norms = D**0.5 / 4.0, W_dec.norm(dim=1) if unit else torch.ones(M).double()
        f = jumprelu(((x * s) @ W_enc + b_enc) * norms, w["threshold"].double())
        agrees(sae, w["x"], f / s, ((f / norms) @ W_dec + b_dec) / s)
        assert sae.meta["model"].endswith("Llama-3.1-8B")


def test_llama_scope_needs_the_norm(tmp_path):
    cfg = LLAMA | {"jump_relu_threshold": 0.4}
    folder = write(tmp_path, "checkpoints/final.safetensors", linear(draw()), "hyperparams.json", cfg)
    with pytest.raises(SaebenchError, match="no dataset_average_activation_norm for its input"):
        load(str(folder))


def test_goodfire(tmp_path):
    w = draw(4)
    file = tmp_path / "Llama-3.1-8B-Instruct-SAE-l19.pth"
    torch.save({k.replace("coder.", "coder_linear."): t for k, t in linear(w).items()}, file)
    sae = opened(file)
    x, W_enc, b_enc, W_dec, b_dec = doubles(w)
    f = torch.relu(x @ W_enc + b_enc)
    agrees(sae, w["x"], f, f @ W_dec + b_dec)
    assert (sae.meta["hook"], sae.meta["model"]) == ("blocks.19.hook_resid_post", "meta-llama/Llama-3.1-8B-Instruct")
    assert opened(tmp_path).fingerprint() == sae.fingerprint()  # the folder holds this file alone


def test_qwen_scope(tmp_path):
    w = draw(5)
    folder = tmp_path / "SAE-Res-Qwen3-8B-Base-W64K-L0_4"
    folder.mkdir()
    stored = {"W_enc": w["W_enc"].T.clone(), "W_dec": w["W_dec"].T.clone(), "b_enc": w["b_enc"], "b_dec": w["b_dec"]}
    torch.save(stored, folder / "layer11.sae.pt")
    sae = opened(folder / "layer11.sae.pt")
    x, W_enc, b_enc, W_dec, b_dec = doubles(w)
    pre = torch.relu(x @ W_enc + b_enc)
    f = torch.where(pre >= pre.sort(dim=1).values[:, -4:-3], pre, 0.0)
    agrees(sae, w["x"], f, f @ W_dec + b_dec)
    assert (sae.meta["hook"], sae.meta["model"]) == ("blocks.11.hook_resid_post", "Qwen/Qwen3-8B-Base")
    torch.save(stored, tmp_path / "layer3.sae.pt")
    with pytest.raises(SaebenchError, match="does not tell its k"):
        load(str(tmp_path / "layer3.sae.pt"))


@pytest.mark.parametrize("skip", [False, True])
def test_layer_transcoder(tmp_path, skip):
    """Input and output widths may differ; the skip is x @ W^T."""
    w = draw(6, d_in=D, d_out=4)
    stored = {"W_enc": w["W_enc"].T, "W_dec": w["W_dec"], "b_enc": w["b_enc"], "b_dec": w["b_dec"]}
    (tmp_path / "config.yaml").write_text("model_name: Qwen/Qwen3-4B\nfeature_input_hook: mlp.hook_in\n")
    write(tmp_path, "layer_3.safetensors", stored | ({"W_skip": w["W_skip"].T} if skip else {}))
    sae = opened(tmp_path / "layer_3.safetensors")
    x, W_enc, b_enc, W_dec, b_dec = doubles(w)
    f = torch.relu(x @ W_enc + b_enc)
    agrees(sae, w["x"], f, f @ W_dec + b_dec + (x @ w["W_skip"].double() if skip else 0))
    assert (sae.d_in, sae.d_out) == (D, 4)
    assert (sae.meta["model"], sae.meta["hook_in"]) == ("Qwen/Qwen3-4B", "blocks.3.mlp.hook_in")


def test_gemma_scope_spelling_embedding_and_release(tmp_path):
    """Lower-case names; embedding SAEs read x / sqrt(d) and give back times sqrt(d); facts of the path."""
    w = draw(7)
    arrays = {k.replace("W", "w"): w[k].numpy() for k in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")}
    root = tmp_path / "models--google--gemma-scope-9b-it-res" / "snapshots" / "0a1b"
    for place in ("embedding", "layer_20"):
        folder = root / place / "width_4k" / "average_l0_21"
        folder.mkdir(parents=True)
        np.savez(folder / "params.npz", **arrays)  # type: ignore[arg-type]
        sae = opened(folder)
        x, W_enc, b_enc, W_dec, b_dec = doubles(w)
        root_d = D**0.5 if place == "embedding" else 1.0
        f = jumprelu(x / root_d @ W_enc + b_enc, w["threshold"].double())
        agrees(sae, w["x"], f, root_d * (f @ W_dec) + b_dec)
        assert (sae.meta["published_l0"], sae.meta["model"]) == (21, "google/gemma-2-9b-it")
    assert sae.meta["hook"] == "blocks.20.hook_resid_post"


def test_square_matrices_go_by_key(tmp_path):
    """As many latents as inputs: the shape cannot tell, the format's rule must."""
    w = draw(8, m=D)
    file = tmp_path / "Llama-3.1-8B-Instruct-SAE-l19.pth"
    torch.save({k.replace("coder.", "coder_linear."): t for k, t in linear(w).items()}, file)
    torch.testing.assert_close(opened(file).W_enc, w["W_enc"])
    torch.testing.assert_close(opened(file).W_dec, w["W_dec"])


def test_shape_overrules_the_key(tmp_path):
    """Files of some releases store a matrix the other way round."""
    w = draw(9)
    tensors = gemma_2_tensors(w) | {"w_enc": w["W_enc"].T, "w_dec": w["W_dec"].T}
    sae = opened(write(tmp_path, "params.safetensors", tensors))
    torch.testing.assert_close(sae.W_enc, w["W_enc"])
    torch.testing.assert_close(sae.W_dec, w["W_dec"])


def dictionary_folder(folder: Path, dict_class: str, w: dict[str, torch.Tensor], **extra) -> Path:
    """One trainer of the SAEBench suite."""
    folder.mkdir(parents=True)
    stored = {k: t.clone() for k, t in linear(w).items() if k != "decoder.bias"}
    torch.save(stored | {"b_dec": w["b_dec"]} | extra, folder / "ae.pt")
    trainer = {"dict_class": dict_class, "layer": 8, "lm_name": "EleutherAI/pythia-160m-deduped"}
    (folder / "config.json").write_text(json.dumps({"trainer": trainer}))
    return folder


def test_suite_folders(tmp_path):
    """TopK takes k of each row, BatchTopK its threshold, though the files hold the same keys."""
    w = draw(10)
    both = {"k": torch.tensor(3, dtype=torch.int32), "threshold": torch.tensor(0.9)}
    root = tmp_path / "TopK_pythia-160m-deduped_ctx1024_0108" / "resid_post_layer_8"
    top = dictionary_folder(root / "trainer_0", "AutoEncoderTopK", w, **both)
    batch = dictionary_folder(root / "trainer_1", "BatchTopKSAE", w, **both)
    (batch / "eval_results.json").write_text('{"l0": 37.5}')
    x, W_enc, b_enc, W_dec, b_dec = doubles(w)
    pre = torch.relu((x - b_dec) @ W_enc + b_enc)
    f = jumprelu(pre, 0.9)
    agrees(opened(batch), w["x"], f, f @ W_dec + b_dec)
    f = torch.where(pre >= pre.sort(dim=1).values[:, -3:-2], pre, 0.0)
    agrees(opened(top), w["x"], f, f @ W_dec + b_dec)
    assert opened(batch).meta["published_l0"] == 37.5
    assert opened(top).meta["hook"] == "blocks.8.hook_resid_post"
    (top / "config.json").unlink()
    with pytest.raises(SaebenchError, match=r"a TopK or a BatchTopK, which only its config\.json tells"):
        load(str(top))
