"""Specs of SAEs."""

import sys
import types

import pytest
import torch

from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import native
from saebench_lite.loading import load, parse
from saebench_lite.sae import AffineSAE


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        ("runs/topk32", ("topk32", None, "runs/topk32")),
        ("native:runs/topk32/", ("topk32", "native", "runs/topk32/")),
        ("mine=sae_lens:a/b", ("mine", "sae_lens", "a/b")),
        ("mypkg.saes:make", ("make", None, "mypkg.saes:make")),
        ("my sae=x/y", ("my sae", None, "x/y")),
    ],
)
def test_parsing(spec, want):
    assert tuple(parse(spec).__dict__.values()) == want


def test_folder_is_recognised_and_checked(tmp_path):
    eye = torch.eye(4)
    native.save(AffineSAE(W_enc=eye, W_dec=eye), tmp_path / "mine")
    name, sae = load(f"other={tmp_path / 'mine'}")
    assert (name, sae.d_sae) == ("other", 4)


def test_module_attribute(monkeypatch):
    module = types.ModuleType("their_saes")
    eye = torch.eye(3)
    module.__dict__.update(
        made=AffineSAE(W_enc=eye, W_dec=eye), make=lambda: AffineSAE(W_enc=eye, W_dec=eye), bad=lambda: 3
    )
    monkeypatch.setitem(sys.modules, "their_saes", module)
    assert load("their_saes:made")[1] is module.made
    assert load("x=their_saes:make")[1].d_in == 3
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


def test_unknown_folder(tmp_path):
    with pytest.raises(SaebenchError, match="no loader recognises"):
        load(str(tmp_path))
