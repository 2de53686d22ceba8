"""The door to SAE files: what is refused, in which words, and what is let through unchanged."""

import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from saebench_lite.errors import SaebenchError
from saebench_lite.loading import readers, untrusted


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    return {"a": torch.arange(12.0).reshape(3, 4), "b": torch.ones(5, dtype=torch.bfloat16), "k": torch.tensor(3)}


def same(got: dict, want: dict[str, torch.Tensor]) -> None:
    assert got.keys() == want.keys()
    assert all(torch.equal(got[k], want[k]) and got[k].dtype == want[k].dtype for k in want)


def entries(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {i.filename: archive.read(i) for i in archive.infolist()}


def rewritten(file: Path, contents: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return file


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_torch_files_come_through(tmp_path, weights, new):
    view = weights["a"].T  # a view that shares and strides
    saved = weights | {"view": view, "parameter": torch.nn.Parameter(view.detach().clone()), "note": "text"}
    torch.save(saved, tmp_path / "w.pt", _use_new_zipfile_serialization=new)
    got = readers.read_torch(tmp_path / "w.pt")
    assert got.pop("note") == "text"
    tensors = {k: t.detach() for k, t in got.items() if isinstance(t, torch.Tensor)}
    assert len(tensors) == len(got)
    same(tensors, weights | {"view": view, "parameter": view})


def test_safetensors_and_npz_come_through(tmp_path, weights):
    save_file(weights, tmp_path / "w.safetensors")
    same(readers.read_safetensors(tmp_path / "w.safetensors"), weights)
    arrays = {
        "a": weights["a"].numpy(),
        "f": np.asfortranarray(weights["a"].numpy()),
        "h": np.array([1, 2], np.float16),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "w.npz", **arrays)
        same(readers.read_npz(tmp_path / "w.npz"), {k: torch.from_numpy(v.copy()) for k, v in arrays.items()})


@pytest.mark.parametrize("form", ["pt", "safetensors", "npz"])
def test_limit_counts_float32_bytes(tmp_path, monkeypatch, form):
    """1,000 float16 numbers are 4,000 bytes once they are used."""
    file, t = tmp_path / f"w.{form}", torch.zeros(1000, dtype=torch.float16)
    save = {"pt": lambda: torch.save({"a": t}, file), "safetensors": lambda: save_file({"a": t}, file),
            "npz": lambda: np.savez_compressed(file, a=t.numpy())}[form]  # fmt: skip
    read = {"pt": readers.read_torch, "safetensors": readers.read_safetensors, "npz": readers.read_npz}[form]
    save()
    monkeypatch.setenv("SAEBENCH_LITE_MAX_BYTES", "4000")
    if form != "pt":  # a torch file's own size counts too
        read(file)
    monkeypatch.setenv("SAEBENCH_LITE_MAX_BYTES", "3999")
    with pytest.raises(SaebenchError, match=r"over the limit of .* GiB; set SAEBENCH_LITE_MAX_BYTES higher"):
        read(file)
    monkeypatch.setenv("SAEBENCH_LITE_MAX_BYTES", "a lot")
    with pytest.raises(SaebenchError, match="'a lot' is not a number of bytes"):
        read(file)


class Command:
    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self):
        return (os.mkdir, (str(self.sentinel),))


def test_foreign_pickles_run_nothing_and_are_named(tmp_path):
    sentinel = tmp_path / "ran"
    payload = {"a": Command(sentinel)}
    torch.save(payload, tmp_path / "zip.pt")
    torch.save(payload, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(payload))
    for file in sorted(tmp_path.glob("*.pt")):
        with pytest.raises(SaebenchError, match=r"asks for 'posix\.mkdir', which no state dict needs"):
            readers.read_torch(file)
    assert not sentinel.exists()
    pickle.loads((tmp_path / "plain.pt").read_bytes())
    assert sentinel.exists()  # the payload is a live one


def test_storage_must_be_as_large_as_it_claims(tmp_path):
    """A record of 16 bytes under a claim of 32,512 numbers would be read past its end."""
    torch.save({"a": torch.ones(4)}, tmp_path / "w.pt")
    contents = entries(tmp_path / "w.pt")
    name = next(n for n in contents if n.endswith("data.pkl"))
    description = contents[name].index(b"K\x04")
    data = contents[name][:description] + b"M\x00\x7f" + contents[name][description + 2 :]
    rewritten(tmp_path / "w.pt", contents | {name: data})
    with pytest.raises(SaebenchError, match="claims 130048 bytes for storage '0', but 16 are there"):
        readers.read_torch(tmp_path / "w.pt")


def test_tensor_must_stay_within_its_storage(tmp_path):
    """An expanded view asks for a million times its storage."""
    torch.save({"a": torch.ones(4).expand(10**6, 4)}, tmp_path / "w.pt")
    with pytest.raises(SaebenchError, match="over a storage of 4 numbers"):
        readers.read_torch(tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil", "C:evil"])
def test_names_that_leave_the_archive(tmp_path, name, weights):
    torch.save(weights, tmp_path / "w.pt")
    np.savez(tmp_path / "w.npz", **{"a": weights["a"].numpy()})
    for file, read in (("w.pt", readers.read_torch), ("w.npz", readers.read_npz)):
        rewritten(tmp_path / file, entries(tmp_path / file) | {name: b"x"})
        with pytest.raises(SaebenchError, match=f"{file} has an entry '.*evil' that leaves its folder"):
            read(tmp_path / file)


def test_bombs_and_compressed_torch_files(tmp_path, weights):
    torch.save(weights, tmp_path / "w.pt")
    rewritten(tmp_path / "w.pt", entries(tmp_path / "w.pt"), zipfile.ZIP_DEFLATED)
    with pytest.raises(SaebenchError, match=r"has a compressed entry .*, which torch\.save never writes"):
        readers.read_torch(tmp_path / "w.pt")
    rewritten(tmp_path / "bomb.npz", {"a.npy": bytes(2**25)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(SaebenchError, match=r"is a zip bomb: entry 'a\.npy' grows from \d+ to 33554432 bytes"):
        readers.read_npz(tmp_path / "bomb.npz")


def npy(descr: str, shape: tuple, body: bytes) -> bytes:
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (npy("|O", (1,), pickle.dumps(3)), "holds 'object', not plain numbers"),
        (npy("<f4", (2**40,), bytes(8)), "promises 1099511627776 numbers but its entry has"),
        (npy("<f4", (0,), b""), "is empty"),
        (npy("<f4", (-1,), bytes(4)), "cannot be read|has shape"),
        (b"nonsense", "cannot be read"),
    ],
)
def test_npz_headers(tmp_path, array, sentence):
    rewritten(tmp_path / "w.npz", {"a.npy": array})
    with pytest.raises(SaebenchError, match=sentence):
        readers.read_npz(tmp_path / "w.npz")


def test_configurations(tmp_path):
    file = tmp_path / "c.json"
    for text, sentence in (
        ("[1]", r"holds no JSON object but \[1\]"),
        ("[" * 10**5, "cannot be read"),
        ("{", "cannot be read"),
        ('{"a": "' + "x" * untrusted.TEXT_LIMIT + '"}', "too much for a configuration"),
    ):
        file.write_text(text)
        with pytest.raises(SaebenchError, match=sentence):
            readers.json_object(file)
    file.write_text("﻿" + json.dumps({"a": 1}))
    assert readers.json_object(file) == {"a": 1}


def test_yaml(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("model_name: Qwen/Qwen3-4B\nd_model: {value: 2560}\n")
    assert readers.yaml_object(file) == {"model_name": "Qwen/Qwen3-4B", "d_model": {"value": 2560}}
    for text, sentence in (
        ("a: &a [x]\nb: [*a, *a]\n", "has YAML aliases or over 20 levels"),
        ("a: !!python/object/apply:os.getcwd []\n", "cannot be read"),
        ("- a\n", "holds no YAML mapping"),
        ("[" * 10**4, "has YAML aliases or over 20 levels"),
        ("a: b\n" * 10**5, "too much for a configuration"),
    ):
        file.write_text(text)
        with pytest.raises(SaebenchError, match=sentence):
            readers.yaml_object(file)


def test_words_in_sentences():
    deep: list = []
    for _ in range(10**5):
        deep = [deep]
    for value in (deep, 10**5000, "x" * 1000, "a\nb\x00é", io.BytesIO(), [1] * 10**6):
        text = untrusted.brief(value)
        assert len(text) <= 60
        assert text.isprintable()
        assert text.isascii()
    assert untrusted.listed(f"t{i}" for i in range(10)) == "t0, t1, t2, t3, t4, t5, t6, t7 and 2 more"
    assert untrusted.listed([]) == "nothing"
