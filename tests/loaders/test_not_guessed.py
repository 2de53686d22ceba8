"""What a published folder says and no loader knows is refused; nothing falls back to ReLU or to the first of two."""

import json

import pytest
import torch
from safetensors.torch import save_file

from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import dictionary_learning, sae_lens

W = torch.randn(6, 10, generator=torch.Generator().manual_seed(0))
X = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))


def lens(folder, **cfg):
    """A SAELens folder of 6 dimensions and 10 latents."""
    tensors = {"W_enc": W, "W_dec": W.T.contiguous(), "b_enc": torch.zeros(10), "b_dec": torch.zeros(6)}
    if "jumprelu" in str(cfg.get("architecture")):
        tensors["threshold"] = torch.full((10,), 0.1)
    save_file(tensors, folder / sae_lens.WEIGHTS)
    (folder / sae_lens.CONFIG).write_text(json.dumps(cfg))
    return folder


def dictionary(folder, keys, **trainer):
    """A dictionary_learning folder with the tensors of the names given."""
    sizes = {"encoder.weight": W.T, "decoder.weight": W, "encoder.bias": torch.zeros(10)}
    sizes |= dict.fromkeys(("b_dec", "bias", "decoder.bias"), torch.zeros(6)) | {"k": torch.tensor(3)}
    torch.save({key: sizes[key].contiguous() for key in keys}, folder / dictionary_learning.WEIGHTS)
    if trainer:
        (folder / dictionary_learning.CONFIG).write_text(json.dumps({"trainer": trainer}))
    return folder


@pytest.mark.parametrize("key", ["activation_fn_str", "activation_fn"])
@pytest.mark.parametrize("architecture", [{}, {"architecture": None}, {"architecture": "standard"}])
def test_a_top_k_is_known_by_either_name_of_its_activation(tmp_path, key, architecture):
    sae = sae_lens.load(lens(tmp_path, **architecture, **{key: "topk", "activation_fn_kwargs": {"k": 2}}))
    assert ((sae.encode(X) != 0).sum(1) <= 2).all()
    assert sae.k == 2


@pytest.mark.parametrize(
    "told", [{}, {"activation_fn": "relu"}, {"activation_fn": "relu", "activation_fn_str": "relu"}]
)
def test_relu_stays_relu(tmp_path, told):
    assert sae_lens.load(lens(tmp_path, **told)).activation == "relu"


@pytest.mark.parametrize("key", ["activation_fn_str", "activation_fn"])
@pytest.mark.parametrize("value", ["tanh-relu", "tanh", "TopK", "leaky_relu", "", 7, ["relu"]])
def test_other_activations_are_refused(tmp_path, key, value):
    with pytest.raises(SaebenchError, match=f"{key} = .* is not supported; there are relu and topk"):
        sae_lens.load(lens(tmp_path, **{key: value}))


@pytest.mark.parametrize(
    ("cfg", "sentence"),
    [
        ({"activation_fn": "relu", "activation_fn_str": "topk"}, "activation_fn_str and activation_fn differ"),
        ({"architecture": 3}, "architecture 3 is not supported"),
        ({"architecture": "gated", "activation_fn": "topk"}, "architecture gated with activation topk"),
    ],
)
def test_contradictions_are_refused(tmp_path, cfg, sentence):
    with pytest.raises(SaebenchError, match=sentence):
        sae_lens.load(lens(tmp_path, **cfg))


@pytest.mark.parametrize("key", ["hook_head_index", "hook_point_head_index"])
@pytest.mark.parametrize("place", ["cfg", "metadata"])
def test_the_first_head_is_a_head_too(tmp_path, key, place):
    for value in (0, 3):
        cfg = {key: value} if place == "cfg" else {"metadata": {key: value}}
        with pytest.raises(SaebenchError, match=f"{key} = {value} is not supported"):
            sae_lens.load(lens(tmp_path, **cfg))
    for value in (None, False, "none"):
        cfg = {key: value} if place == "cfg" else {"metadata": {key: value}}
        assert sae_lens.load(lens(tmp_path, **cfg)).d_sae == 10


TOPK = ("encoder.weight", "encoder.bias", "decoder.weight", "b_dec")


def test_a_top_k_without_k_is_not_read_as_relu(tmp_path):
    with pytest.raises(SaebenchError, match="TopK or a BatchTopK from before k was stored"):
        dictionary_learning.load(dictionary(tmp_path, TOPK))
    with pytest.raises(SaebenchError, match=r"is a TopK without k; write trainer\.k into"):
        dictionary_learning.load(dictionary(tmp_path, TOPK, dict_class="AutoEncoderTopK"))
    with pytest.raises(SaebenchError, match="holds b_dec, which AutoEncoder has not"):
        dictionary_learning.load(dictionary(tmp_path, TOPK, dict_class="AutoEncoder"))
    sae = dictionary_learning.load(dictionary(tmp_path, TOPK, dict_class="AutoEncoderTopK", k=3))
    assert sae.k == 3
    assert ((sae.encode(X) != 0).sum(1) <= 3).all()


def test_an_autoencoder_is_still_one(tmp_path):
    keys = ("encoder.weight", "encoder.bias", "decoder.weight", "bias")
    assert dictionary_learning.load(dictionary(tmp_path, keys)).activation == "relu"
