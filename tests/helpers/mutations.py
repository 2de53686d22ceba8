"""Damaged and hostile SAE files made from the fixtures, from a fixed seed."""

from __future__ import annotations

import json
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from saebench_lite.loaders import matching_pursuit, native, top_afa
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.matching_pursuit import MatchingPursuitSAE
from saebench_lite.saes.top_afa import TopAFASAE
from tests.helpers import hostile_archives as a
from tests.loaders.test_layouts import LLAMA, draw, gemma_2_tensors, linear, write

FIXTURES = Path(__file__).parents[1] / "fixtures"


def sources(root: Path) -> list[Path]:
    """One path to load of every loader and architecture: fixtures, and small layouts built under `root`."""
    w, out = draw(), [p.parent for p in sorted(FIXTURES.rglob("expected.safetensors"))]
    out.append(native.save(AffineSAE(W_enc=w["W_enc"], W_dec=w["W_dec"], activation="topk", k=3), root / "native"))
    rows = w["W_dec"] / w["W_dec"].norm(dim=1, keepdim=True)
    out.append(matching_pursuit.save(MatchingPursuitSAE(W_dec=rows, b_dec=w["b_dec"], k=3), root / "pursuit"))
    affine = AffineSAE(W_enc=w["W_enc"], W_dec=w["W_dec"], b_enc=w["b_enc"], b_dec=w["b_dec"])
    out.append(top_afa.save(TopAFASAE(affine, 0.8), root / "top_afa"))
    out.append(write(root / "layer_3_width_1k_l0_big", "params.safetensors", gemma_2_tensors(w), "config.json",
                     {"hf_hook_point_in": "model.layers.3.output"}))  # fmt: skip
    norm = {"dataset_average_activation_norm": {"in": 4.0, "out": 4.0}, "jump_relu_threshold": 0.3}
    out.append(write(root / "llama" / "checkpoints", "final.safetensors", linear(w)).parent)
    (root / "llama" / "hyperparams.json").write_text(json.dumps(LLAMA | norm))
    log = linear(w) | {"log_jumprelu_threshold": w["threshold"]}
    out.append(write(root / "r1", "sae_weights.safetensors", log, "config.json", LLAMA | norm))
    both = {"W_enc": w["W_enc"].T, "W_dec": w["W_dec"], "b_enc": w["b_enc"], "b_dec": w["b_dec"]}
    out.append(write(root / "transcoder", "layer_0.safetensors", both))
    (root / "transcoder" / "config.yaml").write_text("model_name: Qwen/Qwen3-4B\nsize: [1, 2]\n")
    for name, tensors in (
        ("goodfire/Llama-3.1-8B-Instruct-SAE-l19.pth", {k.replace(".", "_linear."): t for k, t in linear(w).items()}),
        ("SAE-Res-Qwen3-8B-Base-W64K-L0_4/layer11.sae.pt", both | {"W_dec": w["W_dec"].T}),
    ):
        (root / name).parent.mkdir()
        torch.save(tensors, root / name)
        out.append((root / name).parent)
    old = root / "legacy" / "ae.pt"
    old.parent.mkdir()
    tensors = linear(w)
    torch.save(tensors | {"bias": tensors.pop("decoder.bias")}, old, _use_new_zipfile_serialization=False)
    return [*out, old.parent]


def files(folder: Path) -> list[Path]:
    """What a loader may read of a folder."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "expected.safetensors")


def mutants(source: Path, target: Path, rng: random.Random, rounds: int) -> Iterator[str]:
    """Makes `target` a damaged copy of `source`, again and again; yields what was done each time.

    What draws nothing is done in the first round only.
    """
    for number in range(rounds):
        for name in files(source):
            changes = (*BYTES, *(c for kind, cs in BY_KIND.items() if name.suffix in kind for c in cs))
            for change in (c for c in changes if number == 0 or c not in DRAWN_FROM_NOTHING):
                if target.exists():
                    shutil.rmtree(target)
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("expected.safetensors"))
                file = target / name.relative_to(source)
                try:
                    change(file, rng)
                except (ValueError, KeyError):  # nothing to change in this file
                    continue
                yield f"{source.name}/{file.name} {change.__name__}"


def truncate(file: Path, rng: random.Random) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: rng.randrange(len(data))])


def truncate_early(file: Path, rng: random.Random) -> None:
    file.write_bytes(file.read_bytes()[: rng.randrange(200)])


def flip_bits(file: Path, rng: random.Random) -> None:
    data = bytearray(file.read_bytes())
    for _ in range(rng.choice((1, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(bytes(data))


def flip_header(file: Path, rng: random.Random) -> None:
    data = bytearray(file.read_bytes())
    for _ in range(rng.choice((1, 4))):
        data[rng.randrange(min(len(data), 1500))] ^= 1 << rng.randrange(8)
    file.write_bytes(bytes(data))


def flip_end(file: Path, rng: random.Random) -> None:
    """Where a zip keeps its directory."""
    data = bytearray(file.read_bytes())
    data[-1 - rng.randrange(min(len(data), 900))] ^= 1 << rng.randrange(8)
    file.write_bytes(bytes(data))


def overwrite(file: Path, rng: random.Random) -> None:
    data = bytearray(file.read_bytes())
    at = rng.randrange(len(data))
    data[at : at + 16] = rng.randbytes(16)
    file.write_bytes(bytes(data))


def noise(file: Path, rng: random.Random) -> None:
    file.write_bytes(rng.randbytes(rng.randrange(3000)))


def remove(file: Path, rng: random.Random) -> None:
    file.unlink()


def folder_instead(file: Path, rng: random.Random) -> None:
    file.unlink()
    file.mkdir()


BYTES: tuple[Callable[[Path, random.Random], None], ...] = (
    truncate, truncate_early, flip_bits, flip_header, flip_end, overwrite, noise, remove, folder_instead,
)  # fmt: skip

DRAWN_FROM_NOTHING = (remove, folder_instead, a.crowd)
"Changes whose outcome is the same in every round."

ODD = ["", "topk", "../../x", -1, 0, 2, 1e9, 2.5, 1e400, 10**30, None, True, [], [[1]], {}, {"k": {}}, "\n\x00é" * 50]


def odd_value(file: Path, rng: random.Random) -> None:
    content = json.loads(file.read_text())
    inside = [content, *(v for v in content.values() if isinstance(v, dict) and v)]
    chosen = rng.choice(inside)
    chosen[rng.choice(sorted(chosen))] = rng.choice(ODD)
    file.write_text(json.dumps(content))


def drop_value(file: Path, rng: random.Random) -> None:
    content = json.loads(file.read_text())
    inside = [content, *(v for v in content.values() if isinstance(v, dict) and v)]
    chosen = rng.choice(inside)
    del chosen[rng.choice(sorted(chosen))]
    file.write_text(json.dumps(content))


def not_an_object(file: Path, rng: random.Random) -> None:
    file.write_text(rng.choice(["[1]", "3", "null", '"x"', "[" * 100_000, '{"k": ' * 50_000, "NaN", "9" * 5000]))


def long_text(file: Path, rng: random.Random) -> None:
    file.write_text('{"a": "' + "x" * (5 * 2**20) + '"}')


def yaml_trouble(file: Path, rng: random.Random) -> None:
    bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
    code = "x: !!python/object/apply:os.system ['true']\n"
    file.write_text(rng.choice([bomb, code, "[" * 5000, "a: b: c", "? [a]\n: b", "x: 2026-99-99", "\t"]))


def change_tensors(change: Callable[[dict, random.Random], None]) -> Callable[[Path, random.Random], None]:
    """A mutation of named tensors, saved again in the file's own format."""

    def mutation(file: Path, rng: random.Random) -> None:
        if file.suffix == ".safetensors":
            tensors = load_file(file)
            change(tensors, rng)
            save_file({k: t.contiguous() for k, t in tensors.items()}, file)
        elif file.suffix == ".npz":
            with np.load(file) as archive:
                tensors = {k: torch.from_numpy(archive[k]) for k in archive}
            change(tensors, rng)
            plain = {k: t.numpy() if t.is_complex() else t.float().numpy() for k, t in tensors.items()}
            np.savez(file, **plain)  # type: ignore[arg-type]
        else:
            tensors = torch.load(file, weights_only=True)
            change(tensors, rng)
            torch.save(tensors, file)

    mutation.__name__ = change.__name__
    return mutation


def some_tensor(tensors: dict, rng: random.Random) -> str:
    return rng.choice(sorted(k for k, t in tensors.items() if isinstance(t, torch.Tensor)))


def drop_tensor(tensors: dict, rng: random.Random) -> None:
    del tensors[some_tensor(tensors, rng)]


def poison(tensors: dict, rng: random.Random) -> None:
    name = some_tensor(tensors, rng)
    tensors[name] = tensors[name].float().contiguous().clone()
    tensors[name].view(-1)[0] = rng.choice((float("nan"), float("inf"), float("-inf"), 1e38))


def other_dtype(tensors: dict, rng: random.Random) -> None:
    name = some_tensor(tensors, rng)
    kinds = (torch.int8, torch.bool, torch.float16, torch.bfloat16, torch.complex64, torch.float8_e4m3fn, torch.int64)
    tensors[name] = tensors[name].to(rng.choice(kinds))


def other_shape(tensors: dict, rng: random.Random) -> None:
    name = some_tensor(tensors, rng)
    t = tensors[name]
    flat = t.reshape(-1)
    reshaped = (flat, t[None], t.T if t.ndim == 2 else flat[:1], flat[:0], t[..., :-1] if t.ndim else flat, flat[0])
    tensors[name] = rng.choice(reshaped).clone()


def rename(tensors: dict, rng: random.Random) -> None:
    tensors[rng.choice(("", "W_enc", "k", "x\ny", "é" * 300, "__metadata"))] = tensors.pop(some_tensor(tensors, rng))


def swap(tensors: dict, rng: random.Random) -> None:
    a, b = some_tensor(tensors, rng), some_tensor(tensors, rng)
    tensors[a], tensors[b] = tensors[b].clone(), tensors[a].clone()


TENSORS = tuple(map(change_tensors, (drop_tensor, poison, other_dtype, other_shape, rename, swap)))


def huge_safetensors(file: Path, rng: random.Random) -> None:
    """A header that promises far more than the file holds, or numbers that overflow."""
    data = file.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    entry = header[rng.choice(sorted(k for k in header if k != "__metadata__"))]
    rows = rng.choice((2**20, 2**31, 2**62, 0))
    entry["shape"] = [rows, rng.choice((2**20, 2**62, 0, 1))]
    if rng.random() < 0.5:
        entry["data_offsets"] = [0, entry["shape"][0] * entry["shape"][1] * 4]
    text = json.dumps(header).encode()
    size = rng.choice((len(text), 2**63, 2**40, 2**64 - 1)) if rng.random() < 0.3 else len(text)
    file.write_bytes(struct.pack("<Q", size) + text + data[8 + length :])


ZIPS = (a.traversal, a.bomb, a.compressed, a.crowd, a.zip_fields)
PICKLES = (a.foreign_pickle, a.foreign_pickle, a.hostile_pickle, a.hostile_pickle, a.longer_storage)
BY_KIND: dict[tuple[str, ...], tuple[Callable[[Path, random.Random], None], ...]] = {
    (".json",): (odd_value, odd_value, odd_value, drop_value, not_an_object, long_text),
    (".yaml",): (yaml_trouble, yaml_trouble),
    (".safetensors",): (*TENSORS, huge_safetensors, huge_safetensors),
    (".npz",): (*TENSORS, *ZIPS, a.npy_header, a.npy_header, a.npy_header),
    (".pt", ".pth"): (*TENSORS, *ZIPS, *PICKLES),
}
