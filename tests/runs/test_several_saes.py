"""Patterns and folders of SAEs: one spec an SAE, and names that differ."""

from typing import Any

import pytest
import torch

import saebench_lite as sb
from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import native
from saebench_lite.loading.spec import parse
from saebench_lite.runs import local_engine
from saebench_lite.runs.config import RunConfig
from saebench_lite.runs.setup import with_each_sae
from saebench_lite.runs.several_saes import each_sae
from saebench_lite.runs.sites import Placed, split_spec
from tests.conftest import HOOK


def save(*places) -> None:
    for i, place in enumerate(places):
        g = torch.Generator().manual_seed(i)
        w = torch.nn.functional.normalize(torch.randn(8, 128, generator=g))
        native.save(sb.AffineSAE(W_enc=w.T, W_dec=w), place)


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """relu/layers.1, relu/layers.2, topk/layers.1 and a file that is no SAE, in runs/."""
    save(*(tmp_path / "runs" / place for place in ("relu/layers.1", "relu/layers.2", "topk/layers.1")))
    (tmp_path / "runs" / "training.json").write_text("{}")
    monkeypatch.chdir(tmp_path)


def names(specs: list[str]) -> list[str]:
    return [parse(spec).name for spec in specs]


def test_a_folder_means_all_that_lie_in_it(sweep):
    specs = each_sae(["runs"])
    assert specs == [
        "relu_layers.1=runs/relu/layers.1",
        "runs/relu/layers.2",  # nothing else has its name
        "topk_layers.1=runs/topk/layers.1",
    ]
    assert each_sae(specs) == specs
    assert each_sae(["native:runs/relu"]) == ["native:runs/relu/layers.1", "native:runs/relu/layers.2"]
    assert each_sae(["runs/topk"]) == ["runs/topk"]  # one alone keeps the name of the folder
    assert each_sae([f"runs/relu#hook={HOOK}"]) == [f"runs/relu/layers.{i}#hook={HOOK}" for i in (1, 2)]


def test_a_pattern_means_what_it_matches(sweep):
    assert each_sae(["runs/*/layers.1"]) == ["relu_layers.1=runs/relu/layers.1", "topk_layers.1=runs/topk/layers.1"]
    assert each_sae(["native:runs/relu/layers.[12]"]) == [f"native:runs/relu/layers.{i}" for i in (1, 2)]
    assert each_sae(["mine=runs/t*/layers.1"]) == ["mine=runs/topk/layers.1"]
    assert each_sae(["runs/relu/layers.1", "runs/relu/*"]) == ["runs/relu/layers.1", "runs/relu/layers.2"]
    with pytest.raises(SaebenchError, match=r"no file or folder matches 'runs/x\*'; check the pattern"):
        each_sae(["runs/x*"])


def test_a_file_beside_saes_is_left_out_with_a_warning(sweep, tmp_path, caplog):
    (tmp_path / "runs" / "README.md").write_text("a sweep")
    wanted = [f"runs/{name}" for name in ("relu/layers.1", "relu/layers.2", "topk")]
    assert each_sae(["runs/*"]) == wanted
    assert [r.getMessage() for r in caplog.records] == [
        f"runs/{name} is no SAE and is left out" for name in ("README.md", "training.json")
    ]
    caplog.clear()
    shell = [f"runs/{name}" for name in ("README.md", "relu", "topk", "training.json")]  # `runs/*` without quotes
    assert each_sae(shell) == wanted
    assert len(caplog.records) == 2
    assert each_sae(["runs/topk", "runs/training.json"]) == ["runs/topk"]  # `runs/t*`
    assert each_sae(["./runs/topk", "./runs/training.json"]) == ["./runs/topk"]


def test_a_file_that_is_named_or_alone_or_of_weights_stays(sweep, tmp_path, caplog):
    assert each_sae(["runs/relu/layers.1", "runs/training.json"]) == ["runs/relu/layers.1", "runs/training.json"]
    assert each_sae(["runs/relu", "runs/training.json"])[-1] == "runs/training.json"  # no pattern matches just these
    assert each_sae(["runs/*.json"]) == ["runs/training.json"]
    assert each_sae(["mine=runs/training.json"]) == ["mine=runs/training.json"]
    assert not caplog.records
    (tmp_path / "runs" / "topk.safetensors").write_bytes(b"cut off")  # an SAE that was not copied whole
    assert each_sae(["runs/t*"]) == ["runs/topk", "runs/topk.safetensors"]
    with pytest.raises(SaebenchError, match=r"^no loader recognises 'runs/training.json'; name one as [^\n]*$"):
        sb.load("runs/training.json")


def test_a_path_with_the_signs_of_a_pattern_is_a_path(tmp_path, monkeypatch):
    save(tmp_path / "l0[8]")
    monkeypatch.chdir(tmp_path)
    assert each_sae(["l0[8]"]) == ["l0[8]"]


def test_one_path_written_in_two_ways_is_one_sae(sweep, tmp_path):
    one = "runs/topk/layers.1"
    assert each_sae([one, f"{one}/", f"./{one}", str(tmp_path / one), "runs/topk/*"]) == [one]
    assert names(each_sae([one, f"mine={one}"])) == ["layers.1", "mine"]  # asked for by name
    assert each_sae([f"{one}#hook={HOOK}", f"{one}/#hook={HOOK}"]) == [f"{one}#hook={HOOK}"]


def test_a_folder_named_as_if_it_told_a_site_is_a_folder(tmp_path, monkeypatch):
    odd = f"sw/h#hook={HOOK}"
    save(tmp_path / odd, tmp_path / "sw" / "plain")
    monkeypatch.chdir(tmp_path)
    assert each_sae(["sw"]) == [odd, "sw/plain"]
    assert split_spec(odd) == Placed(odd)
    assert split_spec(f"mine=native:{odd}#hook=h") == Placed(f"mine=native:{odd}", hook="h")
    assert split_spec(f"sw/plain#model=m,hook={HOOK}") == Placed("sw/plain", "m", HOOK)


def test_given_names_stay_and_others_give_way(sweep):
    specs = each_sae(["layers.1=runs/topk/layers.1", "runs/relu/layers.1", "runs/relu/layers.2"])
    assert names(specs) == ["layers.1", "relu_layers.1", "layers.2"]
    assert names(each_sae(["them/saes/k@v1", "them/saes/k@v2"])) == ["saes_k_v1", "saes_k_v2"]
    assert names(each_sae(["ours:make", "theirs.new:make"])) == ["ours:make", "theirs.new:make"]


@pytest.mark.parametrize(
    ("specs", "sentence"),
    [
        (["a=x/one", "a=y/two"], r"SAE specs 'a=x/one' and 'a=y/two' are both called 'a'; .*: other_name=y/two"),
        (["native:x/one", "x/one"], "'native:x/one' and 'x/one' are both called 'x_one'; .* other_name=x/one"),
        (["mine=runs"], "SAE spec 'mine=runs' gives one name to 3 SAEs; leave the name out"),
    ],
)
def test_names_that_cannot_differ_are_a_sentence_with_both_specs(sweep, specs, sentence):
    with pytest.raises(SaebenchError, match=sentence):
        each_sae(specs)


def test_what_cannot_be_read_stays_as_it_is(sweep):
    specs = ["no/such/thing", "module:attribute", "name=", "empty"]
    assert each_sae(specs) == specs


def test_a_run_keeps_each_of_them_in_its_file(sweep, concepts, tmp_path, monkeypatch):
    kwargs: dict[str, Any] = {
        "tasks": "reconstruction",
        "baselines": [],
        "settings": {"reconstruction": {"max_tokens": 1000}},
    }
    records = sb.run("runs/*/layers.1", data="bundled", limit=1, out="out", **kwargs)
    assert [r.subject.name for r in records] == ["relu_layers.1", "topk_layers.1"]
    config = RunConfig.from_file(tmp_path / "out" / "run.yaml")
    assert config.saes == ("relu_layers.1=runs/relu/layers.1", "topk_layers.1=runs/topk/layers.1")
    monkeypatch.setattr(local_engine, "run", lambda *a: pytest.fail("the work began"))
    with pytest.raises(SaebenchError, match="no file or folder matches"):
        sb.run("runs/y*")
    assert with_each_sae(RunConfig()) == RunConfig()
