"""The inspection of an SAE file: facts, a measurement against a plain loop, and what it warns of."""

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import saebench_lite as sb
from saebench_lite import registry
from saebench_lite.api.context import EvalContext
from saebench_lite.bundled import sae_folders
from saebench_lite.cli import main
from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import native
from saebench_lite.loading.loader import Loader
from saebench_lite.runs import inspect_sae
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.sources.bundled import load as bundled
from tests.conftest import HOOK

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def folder(tmp_path, sae) -> Path:
    """The small random SAE of the tests, which says that it belongs to pico."""
    sae.meta |= {"model": "pico", "hook": HOOK, "published_l0": 8}
    return native.save(sae, tmp_path / "random8")


def test_a_live_sae_and_its_file_have_one_report(folder, sae):
    filed, live = (inspect_sae.inspect_sae(which, model="pico", texts=5) for which in (str(folder), sae))
    told = ("verdict", "fingerprint", "measured", "warnings", "facts")
    assert {key: live[key] for key in told} == {key: filed[key] for key in told}
    assert live["name"] == live["spec"] == "AffineSAE"
    with pytest.raises(SaebenchError, match="int has no 'd_in'; an SAE needs"):
        sb.inspect(3)  # pyright: ignore[reportArgumentType] (that is the test)


@pytest.mark.parametrize("texts", [-1, 0, 2.5])
def test_texts_to_measure_on_are_a_whole_number(sae, texts):
    with pytest.raises(SaebenchError, match=f"^texts is {texts}; give a whole number, 1 at least$"):
        sb.inspect(sae, model="pico", hook=HOOK, texts=texts)


def test_what_a_notebook_shows_of_it(sae):
    assert repr(sae) == "<AffineSAE topk k=8, d_in 128, d_sae 64>"
    assert {"run", "leaderboard", "inspect", "SAE"} <= {*dir(sb)}


def test_measurement_against_a_loop(folder, pico, sae):
    report = inspect_sae.inspect_sae(str(folder), texts=20)
    x = EvalContext(pico, HOOK, bundled("", None)).sample(20).double().numpy()
    W_enc, W_dec = (sae.tensors[n].double().numpy() for n in ("W_enc", "W_dec"))
    error, fired = 0.0, np.zeros(sae.d_sae)
    for row in x:
        pre = row @ W_enc
        f = np.zeros_like(pre)
        best = np.argsort(pre)[-8:]
        f[best] = np.maximum(pre[best], 0)
        error += ((row - f @ W_dec) ** 2).sum()
        fired += f > 0
    measured = report["measured"]
    assert measured is not None
    assert measured["tokens"] == len(x)
    assert measured["l0"] == pytest.approx(fired.sum() / len(x), rel=1e-6)
    assert measured["explained_variance"] == pytest.approx(1 - error / ((x - x.mean(0)) ** 2).sum(), rel=1e-4)
    assert measured["dead_fraction"] == pytest.approx((fired == 0).mean())
    assert (report["format"], report["verdict"]) == ("native", "ok")
    assert (report["d_in"], report["d_sae"], report["shapes"]["W_dec"]) == (128, 64, [64, 128])


@pytest.mark.parametrize(("published", "word"), [(3.9, "above"), (4.1, None), (15.9, None), (16.1, "below")])
def test_published_l0_within_a_factor_of_two(published, word):
    found = {"l0": 8.0, "dead_fraction": 0.05, "explained_variance": 0.5, "tokens": 100.0}
    sentences = inspect_sae.measured_warnings(found, published)
    assert [f"far {word} the published" in s for s in sentences] == ([True] if word else [])
    assert not inspect_sae.measured_warnings(found, None)


def test_dead_latents_and_negative_variance_are_named():
    found = {"l0": 8.0, "dead_fraction": 0.25, "explained_variance": -0.5, "tokens": 100.0}
    dead, variance = inspect_sae.measured_warnings(found, 8)
    assert "25.0% of the latents never fire on 100 tokens" in dead
    assert "the mean activation alone would do better" in variance


def test_wrong_width_wrong_hook_and_transcoder():
    gated = str(FIXTURES / "sae_lens" / "gated")
    report = inspect_sae.inspect_sae(gated)
    assert report["measured"] is None
    assert report["warnings"] == []
    report = inspect_sae.inspect_sae(gated, model="pico", hook=HOOK)
    assert report["measured"] is None
    told_model, told_hook, width = report["warnings"]
    assert "the file says model 'tiny-lm', but 'pico'" in told_model
    assert "the file says hook 'blocks.1.hook_resid_post'" in told_hook
    assert f"reads 32 dimensions but {HOOK} of pico has 128" in width
    report = inspect_sae.inspect_sae(str(FIXTURES / "sparsify" / "transcoder_skip"))
    assert "this is a transcoder from input of layers.1.mlp" in report["warnings"][0]
    with pytest.raises(SaebenchError, match="does not tell its hook; give --hook"):
        inspect_sae.inspect_sae(str(FIXTURES / "gemma_scope"), model="gpt2")


def test_what_does_not_conform_is_the_verdict(tmp_path):
    """d_out differs from d_in without being declared a transcoder."""
    odd = AffineSAE(W_enc=torch.eye(4, 6), W_dec=torch.ones(6, 3), subtract_b_dec=False)
    folder = native.save(odd, tmp_path / "odd")
    report = inspect_sae.inspect_sae(str(folder))
    assert "decoder has shape [6, 3]" in report["verdict"]
    done = CliRunner().invoke(main.app, ["inspect", str(folder)])
    assert done.exit_code == 1
    assert "decoder has shape [6, 3]" in done.output


def test_command_line(folder):
    done = CliRunner().invoke(main.app, ["inspect", f"mine={folder}", "--texts", "5", "--json"])
    report = json.loads(done.output)
    assert report["name"] == "mine"
    assert 0 < report["measured"]["l0"] <= 8
    text = CliRunner().invoke(main.app, ["inspect", str(FIXTURES / "dictionary_learning" / "BatchTopKSAE")]).output
    for part in ("dictionary_learning", "BatchTopKSAE", "one learnt threshold", "published_l0         8", "[32, 128]"):
        assert part in text


def test_bundled_saes_are_what_they_say():
    folder = next(f for f in sae_folders() if "batchtopk" in f.name)
    report = inspect_sae.inspect_sae(str(folder), texts=50)
    assert report["warnings"] == []
    assert report["measured"] is not None
    assert report["measured"]["explained_variance"] > 0.7


def test_a_file_that_tells_no_format_has_that_of_its_loader(tmp_path: Path, sae, monkeypatch):
    """An SAE of a plugin's loader was called native."""
    sae.meta = {}
    (tmp_path / "weights.toy").write_text("")
    toy = Loader(description="toy", load=lambda path: sae, recognise=lambda path: path.suffix == ".toy")
    with registry.lent([registry.entry_of("loaders", "toy", toy, inspect_sae.inspect_sae)]):
        for spec in (str(tmp_path / "weights.toy"), f"toy:{tmp_path / 'weights.toy'}", str(tmp_path)):
            assert inspect_sae.inspect_sae(spec)["format"] == "toy"
    monkeypatch.setitem(sys.modules, "toy_module", types.SimpleNamespace(it=sae))
    assert inspect_sae.inspect_sae("toy_module:it")["format"] == "object"
