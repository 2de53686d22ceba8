"""Fine-tune on KL and MSE: the SAE's own function with gradients, and what it is to gain."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from saebench_lite.bundled import sae_folders
from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import native
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.models.low_rank import LowRank
from saebench_lite.recipes.fine_tune import FineTune, Tuned, fine_tune, gap
from saebench_lite.recipes.spliced import SplicedStream
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.identity import fingerprint
from saebench_lite.saes.protocol import reconstruct
from tests.conftest import HOOK
from tests.helpers.random_affine import D, random_affine

RECIPE = FineTune(steps=12, tokens=256, lr=1e-3)


@pytest.mark.parametrize("activation", ["identity", "relu", "topk", "jumprelu", "gated"])
@pytest.mark.parametrize("normalize", ["none", "layer_norm"])
@pytest.mark.parametrize("subtract_b_dec", [True, False])
@pytest.mark.parametrize("part", ["all", "adapter"])
def test_the_differentiable_reconstruction_and_the_export_are_the_saes_own(activation, normalize, subtract_b_dec, part):
    x = 3 * torch.randn(40, D, generator=torch.Generator().manual_seed(4))
    ours = random_affine(activation, normalize, subtract_b_dec)
    tuned = Tuned(ours, FineTune(part=part), torch.device("cpu"))
    own = reconstruct(ours, x, ours.encode(x))
    torch.testing.assert_close(tuned.reconstruct(x).detach(), own)
    if part == "adapter":
        with torch.no_grad():
            tuned.map += 0.1 * torch.randn(D, D, generator=torch.Generator().manual_seed(5))
            tuned.shift += torch.arange(D) / 10
    back = tuned.export({})
    codes = back.encode(x)
    same = ((codes != 0) == (ours.encode(x) != 0)).all(1)  # rounding may turn a near tie of topk
    assert same.sum() >= 39
    torch.testing.assert_close(codes[same], ours.encode(x)[same])
    torch.testing.assert_close(reconstruct(back, x, codes)[same], tuned.reconstruct(x).detach()[same])


@pytest.mark.parametrize(
    ("activation", "names"),
    [("relu", ("W_enc", "W_dec", "b_enc", "b_dec")), ("gated", ("W_dec", "b_mag", "r_mag"))],  # no gate is moved
)
def test_gradients_are_those_of_differences(activation, names):
    tuned = Tuned(random_affine(activation), FineTune(), torch.device("cpu"))
    x = 3 * torch.randn(20, D, generator=torch.Generator().manual_seed(4))

    def error() -> torch.Tensor:
        return (tuned.reconstruct(x) - x).square().sum()

    error().backward()
    for name in names:
        t = tuned.sae.tensors[name]
        assert t.grad is not None
        place = (0,) * t.ndim
        with torch.no_grad():
            t[place] += 1e-2
            above = error().item()
            t[place] -= 2e-2
            below = error().item()
            t[place] += 1e-2
        assert t.grad[place].item() == pytest.approx((above - below) / 2e-2, rel=0.02, abs=2), name


@pytest.fixture(scope="module")
def relu() -> AffineSAE:
    (folder,) = (f for f in sae_folders() if f.name == "topk_1024_l0_8")
    return native.load(folder)


@pytest.fixture(scope="module")
def texts(few_texts) -> tuple[str, ...]:
    return few_texts.texts[0].texts[:60]


def cost(ours: AffineSAE, pico, texts) -> float:
    return gap(Tuned(ours, FineTune(), torch.device("cpu")), SplicedStream(pico, HOOK, texts, batch=2048))


def test_it_brings_the_models_predictions_nearer_and_keeps_norms(pico, texts, relu):
    before = fingerprint(relu)
    tuned, model = fine_tune(relu, pico, HOOK, texts, RECIPE)
    assert fingerprint(relu) == before
    assert model is None
    assert cost(tuned, pico, texts) < 0.9 * cost(relu, pico, texts)
    facts = tuned.meta["fine_tune"]
    assert facts["gap_before"] == pytest.approx(cost(relu, pico, texts[19::20]), rel=1e-3)
    assert facts["gap_after"] == pytest.approx(cost(tuned, pico, texts[19::20]), rel=1e-3)
    torch.testing.assert_close(tuned.W_dec.norm(dim=1), relu.W_dec.norm(dim=1))
    assert tuned.meta["fine_tune"]["steps"] == 12
    assert tuned.meta["recipe"] == relu.meta["recipe"]
    assert "held_out" not in tuned.meta
    again, _ = fine_tune(relu, pico, HOOK, texts, RECIPE)
    assert fingerprint(again) == fingerprint(tuned)


def test_an_adapter_moves_the_decoder_alone(pico, texts, relu):
    tuned, _ = fine_tune(relu, pico, HOOK, texts, dataclasses.replace(RECIPE, part="adapter"))
    x = 10 * torch.randn(50, relu.d_in, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(tuned.encode(x), relu.encode(x), atol=1e-3, rtol=1e-4)
    assert not torch.allclose(tuned.W_dec, relu.W_dec)
    assert cost(tuned, pico, texts) < cost(relu, pico, texts)


def test_lora_changes_the_model_behind_the_hook_and_leaves_the_sae(pico, texts, relu, tmp_path):
    weights = {n: p.clone() for n, p in pico.net.named_parameters()}
    tuned, model = fine_tune(relu, pico, HOOK, texts, dataclasses.replace(RECIPE, part="lora", rank=4, lr=3e-3))
    assert model is not None
    assert fingerprint(tuned) == fingerprint(relu)
    assert tuned.meta["held_out"] == relu.meta["held_out"]
    facts = tuned.meta["fine_tune"]
    assert facts["gap_after"] < 0.95 * facts["gap_before"]
    stream = SplicedStream(pico, HOOK, texts[:8], batch=2048, adapted=model.attached)
    batch = next(stream.batches())[0]
    rows = torch.zeros_like(batch.x)
    changed = batch.logits(rows).detach()
    loaded = LanguageModel.load(str(model.save(tmp_path / "model")))
    other = next(SplicedStream(loaded, HOOK, texts[:8], batch=2048).batches())[0]
    torch.testing.assert_close(other.x, batch.x)  # nothing before the hook is changed
    torch.testing.assert_close(other.logits(rows).detach(), changed, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(next(SplicedStream(pico, HOOK, texts[:8], batch=2048).batches())[0].logits(rows), changed)
    assert all(torch.equal(p, weights[n]) for n, p in pico.net.named_parameters())


def test_lora_needs_linear_maps_behind_the_hook(pico):
    layers = pico.n_layers
    first = LowRank(pico, "blocks.0.hook_resid_pre", 2)
    assert {name.split(".")[0] for name in first.maps} == {str(i) for i in range(layers)}
    assert {n.split(".")[0] for n in LowRank(pico, "blocks.0.hook_mlp_out", 2).maps} == {
        str(i) for i in range(1, layers)
    }
    with pytest.raises(SaebenchError, match="no linear map of a block lies behind"):
        LowRank(pico, f"blocks.{layers - 1}.hook_resid_post", 2)


def test_what_cannot_be_is_a_sentence(pico, texts, relu):
    with pytest.raises(SaebenchError, match="part 'encoder' of an SAE is not known; choose from all, adapter, lora"):
        FineTune(part="encoder")  # type: ignore[arg-type]
    with pytest.raises(SaebenchError, match=r"the SAE maps 6 to 6 numbers, and blocks\.2\.hook_resid_post has 128"):
        fine_tune(random_affine("relu"), pico, HOOK, texts, RECIPE)
    with pytest.raises(SaebenchError, match="there are no texts"):
        fine_tune(relu, pico, HOOK, [], RECIPE)
