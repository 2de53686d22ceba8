"""Specs of SAEs."""

import shutil
import sys
import types
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils import filter_repo_objects

from saebench_lite import registry
from saebench_lite.bundled import sae_folders
from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import native
from saebench_lite.loading import hub
from saebench_lite.loading.loader import Loader
from saebench_lite.loading.open import load, read
from saebench_lite.loading.spec import parse
from saebench_lite.saes.affine import AffineSAE

TINY = AffineSAE(W_enc=torch.eye(2), W_dec=torch.eye(2))


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        ("runs/topk32", ("topk32", None, "runs/topk32")),
        ("native:runs/topk32/", ("topk32", "native", "runs/topk32/")),
        ("mine=sae_lens:a/b", ("mine", "sae_lens", "a/b")),
        ("mypkg.saes:make", ("mypkg.saes:make", None, "mypkg.saes:make")),
        ("my sae=x/y", ("my sae", None, "x/y")),
        ("them/saes/layers.3@v1.0", ("layers.3", None, "them/saes/layers.3@v1.0")),
        ("them/saes@main", ("saes", None, "them/saes@main")),
        ("sweep/lr=0.001,k=8/sae", ("sae", None, "sweep/lr=0.001,k=8/sae")),
        ("mine=sweep/lr=0.001,k=8/sae", ("mine", None, "sweep/lr=0.001,k=8/sae")),
        ("mine=./lr=0.1", ("mine", None, "./lr=0.1")),
        ("mine=native:./a=b/c=d", ("mine", "native", "./a=b/c=d")),
        ("./lr=0.1", ("lr=0.1", None, "./lr=0.1")),
    ],
)
def test_parsing(spec, want):
    parsed = parse(spec)
    assert (parsed.name, parsed.loader, parsed.where) == want


def test_a_folder_with_an_equals_sign_needs_no_dot_before_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse("lr=0.1").where == "0.1"
    (tmp_path / "lr=0.1").mkdir()
    assert (parse("lr=0.1").name, parse("lr=0.1").where) == ("lr=0.1", "lr=0.1")
    assert (parse("mine=lr=0.1").name, parse("mine=lr=0.1").where) == ("mine", "lr=0.1")
    (tmp_path / "0.1").mkdir()  # both are there: the name wins, as it did
    assert (parse("lr=0.1").name, parse("lr=0.1").where) == ("lr", "0.1")
    assert parse("x=" + "y" * 5000).where == "y" * 5000


def test_folder_is_recognised_and_checked(tmp_path):
    eye = torch.eye(4)
    native.save(AffineSAE(W_enc=eye, W_dec=eye), tmp_path / "mine")
    sae = load(f"other={tmp_path / 'mine'}")
    assert (getattr(sae, "name", None), sae.d_sae) == ("other", 4)


def test_module_attribute(monkeypatch):
    module = types.ModuleType("their_saes")
    eye = torch.eye(3)
    module.__dict__.update(
        made=AffineSAE(W_enc=eye, W_dec=eye), make=lambda: AffineSAE(W_enc=eye, W_dec=eye), bad=lambda: 3
    )
    monkeypatch.setitem(sys.modules, "their_saes", module)
    assert load("their_saes:made") is module.made
    assert load("x=their_saes:make").d_in == 3
    with pytest.raises(SaebenchError, match="int has no 'd_in'"):
        load("their_saes:bad")
    with pytest.raises(SaebenchError, match="their_saes:absent gives no SAE"):
        load("their_saes:absent")


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [("nowhere/at/all", "no file or folder at"), ("name=", "names no place"), ("native:gone", "cannot be read")],
)
def test_specs_that_lead_nowhere(spec, sentence):
    with pytest.raises(SaebenchError, match=sentence):
        load(spec)


def test_a_place_that_is_misspelt_is_answered_with_the_saes_like_it(tmp_path, monkeypatch):
    for name in ("topk_l0_16", "topk_l0_61/final", "other"):
        native.save(TINY, tmp_path / name)
    (tmp_path / "topk_l0_16.txt").write_text("no SAE")
    (tmp_path / "topk_l0_1").mkdir()
    with pytest.raises(SaebenchError) as found:
        load(str(tmp_path / "topk_l0_166"))
    assert f"did you mean {tmp_path}/topk_l0_16 or {tmp_path}/topk_l0_61? Or check the path" in str(found.value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "topk_l0_61").rename("runs")
    with pytest.raises(SaebenchError, match=r"and the Hugging Face repository .*; did you mean runs/final\?$"):
        load("runs/finale")
    with pytest.raises(SaebenchError, match=r"did you mean topk_1024_l0_16 or \w+\? Or check the path"):
        load("topk_1024_l0_61")
    with pytest.raises(SaebenchError) as found:
        load(str(tmp_path / "quite_different"))
    assert "did you mean" not in str(found.value)


def test_names_that_no_terminal_takes_are_not_proposed(tmp_path):
    native.save(TINY, tmp_path / "topk_l0_16\x1b[2J")
    with pytest.raises(SaebenchError) as found:
        load(str(tmp_path / "topk_l0_16"))
    assert "did you mean" not in str(found.value)
    with pytest.raises(SaebenchError, match="no file or folder at"):
        load("a\0b/topk")


def test_unknown_folder(tmp_path):
    with pytest.raises(SaebenchError, match="no loader recognises"):
        load(str(tmp_path))


FIXTURES = Path(__file__).parents[1] / "fixtures"
SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def repository(monkeypatch, tmp_path):
    """A hub with one repository of sparsify SAEs; records which patterns were asked for."""
    source, cache, asked = FIXTURES / "sparsify", tmp_path / "snapshots" / SHA, {}
    names = [p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()]

    def snapshot_download(repo, *, revision=None, allow_patterns=None, local_files_only=False):
        asked.update(repo=repo, revision=revision, patterns=allow_patterns, local=local_files_only)
        if repo != "them/saes":
            raise RepositoryNotFoundError("404 Client Error.\nRepository Not Found", response=Response())  # type: ignore[arg-type]
        for name in filter_repo_objects(names, allow_patterns=allow_patterns):
            (cache / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, cache / name)
        cache.mkdir(parents=True, exist_ok=True)
        return str(cache)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr("huggingface_hub.list_repo_files", lambda repo, revision=None: names)
    return asked, cache


class Response:
    """As much of an HTTP response as the error wants."""

    headers: ClassVar = {}
    request = None


def test_hub_id_fetches_its_files_alone_and_pins_the_revision(repository):
    asked, cache = repository
    sae = load("mine=sparsify:them/saes/topk/layers.1@v1.2")
    assert (getattr(sae, "name", None), asked["repo"], asked["revision"]) == ("mine", "them/saes", "v1.2")
    assert sorted(p.name for p in cache.rglob("*") if p.is_file()) == ["cfg.json", "sae.safetensors"]
    assert isinstance(sae, AffineSAE)
    facts = {k: sae.meta[k] for k in ("repo", "revision", "id")}
    assert facts == {"repo": "them/saes", "revision": SHA, "id": "topk/layers.1"}
    assert getattr(load("them/saes/groupmax/layers.1"), "name", None) == "layers.1"
    assert load("them/saes/groupmax/layers.1@main").d_sae == 128  # no loader needed


def test_hub_repository_of_several_lists_them(repository):
    with pytest.raises(SaebenchError, match=r"holds 6 weight files; .* groupmax/layers\.1, topk/layers\.1, transcoder"):
        load("them/saes")
    with pytest.raises(SaebenchError, match=r"has no SAE 'topk/layers\.7'; it holds topk/layers\.1$"):
        load("them/saes/topk/layers.7")


def test_missing_repository_and_no_network_are_one_sentence(repository, monkeypatch):
    with pytest.raises(SaebenchError, match=r"Hugging Face repository no/such@v2 cannot be had \(RepositoryNotFound"):
        load("no/such/thing@v2")

    def offline(*args, **kwargs):
        raise OfflineModeIsEnabled("Cannot reach https://hub: offline mode is enabled.")

    monkeypatch.setattr("huggingface_hub.list_repo_files", offline)
    load("them/saes/topk/layers.1")  # in the cache: the listing is not needed
    asked, _ = repository
    with pytest.raises(SaebenchError, match="cannot be had"):
        load("no/such")
    assert asked["local"]  # never a whole repository because its listing failed
    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(SaebenchError, match="offline mode is enabled") as caught:
        load("them/saes/topk/layers.1")
    assert "\n" not in str(caught.value)


def test_folder_of_several_lists_them_and_of_one_opens_it(tmp_path):
    with pytest.raises(SaebenchError, match=r"holds 3 SAEs; add one of these to the path: groupmax/layers\.1, topk"):
        load(str(FIXTURES / "sparsify"))
    with pytest.raises(SaebenchError, match="holds 5 SAEs; add one of these to the path: AutoEncoderTopK, BatchTopK"):
        load(f"dictionary_learning:{FIXTURES / 'dictionary_learning'}")
    assert load(str(FIXTURES / "sparsify" / "topk")).d_sae == 128


def test_hub_places():
    assert hub.parse("a/b") == ("a/b", "", None)
    assert hub.parse("a/b/c/d.e@v1") == ("a/b", "c/d.e", "v1")
    for local in ("/a/b", "./a/b", "../a/b", "a/../b", "a", "~/a/b", "pkg.mod:thing", "a/b/../c"):
        assert hub.parse(local) is None


def test_broken_loader_of_a_plugin_only_hurts_itself(tmp_path):
    def fetch():
        raise ImportError("no such library")

    eye = torch.eye(4)
    native.save(AffineSAE(W_enc=eye, W_dec=eye), tmp_path / "mine")
    with registry.only_within():
        registry.add("loaders", registry.Entry("a_broken_one", "theirs", "1.0", "theirs", fetch))
        assert load(str(tmp_path / "mine")).d_sae == 4
        with pytest.raises(SaebenchError, match=r"'a_broken_one' of theirs 1\.0 cannot be imported: ImportError"):
            load(f"a_broken_one:{tmp_path / 'mine'}")


def raising(error: BaseException):
    def function(path):
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "sentence"),
    [(ValueError("bad header\nand more"), "ValueError: bad header\\)"), (RuntimeError(), "RuntimeError\\)")],
)
def test_foreign_loaders_that_raise_only_hurt_themselves(tmp_path, error, sentence):
    """In `load` and in `recognise`, with any exception, also one without a message."""
    eye = torch.eye(4)
    native.save(AffineSAE(W_enc=eye, W_dec=eye), tmp_path / "mine")
    theirs = Loader(description="theirs", load=raising(error), recognise=raising(error))
    with registry.only_within():
        registry.add("loaders", registry.Entry("a_theirs", "theirs", "1.0", "theirs", lambda: theirs))
        assert load(str(tmp_path / "mine")).d_sae == 4
        with pytest.raises(SaebenchError, match=sentence):
            load(f"a_theirs:{tmp_path / 'mine'}")


def test_folder_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(SaebenchError, match="no loader recognises"):
        load(str(tmp_path))


def test_the_name_of_a_bundled_sae_stands_for_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = next(f for f in sae_folders() if f.name == "topk_1024_l0_16")
    for text, name in (("topk_1024_l0_16", "topk_1024_l0_16"), ("mine=topk_1024_l0_16", "mine")):
        spec = parse(text)
        assert (spec.name, spec.where, spec.path) == (name, "topk_1024_l0_16", folder)  # runs name it as it was given
        assert torch.equal(read(spec).encode(torch.ones(1, 128)), load(folder).encode(torch.ones(1, 128)))
    Path("topk_1024_l0_16").mkdir()  # a path of that name comes first
    assert parse("topk_1024_l0_16").path == Path("topk_1024_l0_16")
