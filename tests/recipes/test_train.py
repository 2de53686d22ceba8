"""`train`: from texts to an SAE that a run takes."""

import numpy as np
import pytest

import saebench_lite as sb
from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import native
from saebench_lite.recipes.recipe import SAERecipe
from saebench_lite.saes.identity import fingerprint
from tests.conftest import HOOK

RECIPE = SAERecipe(architecture="topk", d_sae=64, l0=4, steps=150, batch=64)


def test_it_learns_from_the_texts_and_says_from_what(pico, few_texts):
    texts = few_texts.texts[0].texts
    sae = sb.train([*texts, texts[0]], RECIPE, model=pico, hook="model.layers.2.output")
    assert (sae.d_in, sae.d_sae) == (128, 64)
    assert (sae.meta["model"], sae.meta["hook"]) == ("pico", HOOK)
    held = sae.meta["held_out"]
    assert held["l0"] == 4
    untrained = sb.train(texts, SAERecipe(architecture="topk", d_sae=64, l0=4, steps=1), model=pico, hook=HOOK)
    assert held["explained_variance"] > untrained.meta["held_out"]["explained_variance"] + 0.05
    again = sb.train(texts, RECIPE, model=pico, hook=HOOK)
    assert fingerprint(again) == fingerprint(sae)  # a text given twice is read once, the rest has seeds


def test_the_curve_reaches_the_figure_by_way_of_a_folder_and_a_run(pico, few_texts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = few_texts.texts[0].texts
    sae = sb.train(texts, SAERecipe(architecture="relu", d_sae=64, l0=4, steps=30, batch=64), model=pico)
    assert isinstance(sae, sb.AffineSAE)
    native.save(sae, "runs/mine")
    few = {"reconstruction": {"max_tokens": 1000}}
    records = sb.run("runs/mine", data="bundled", limit=1, tasks="reconstruction", baselines=[], settings=few)
    (line,) = sb.plot(records, "training").axes[0].lines
    curve = sae.meta["training_curve"]
    assert len(curve["step"]) > 10
    drawn = np.asarray(line.get_xydata()).T.tolist()
    assert drawn == [curve["step"], curve["explained_variance"]]


@pytest.mark.parametrize("texts", [[], "one text", [1, 2]])
def test_what_is_no_list_of_texts_is_a_sentence(texts):
    with pytest.raises(SaebenchError, match=r"^texts is .*; give at least one text"):
        sb.train(texts)


def test_too_few_tokens_are_a_sentence(pico):
    with pytest.raises(SaebenchError, match=r"activations to train on must be \[n >= 50, d\]"):
        sb.train(["a b"], RECIPE, model=pico, hook=HOOK)
