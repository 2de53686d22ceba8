"""The training loop on streams: same SAE as from a tensor, snapshots, autocast, what a wrong stream is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.recipes.loop import held_out_figures, train_sae
from saebench_lite.recipes.recipe import Architecture, SAERecipe
from saebench_lite.saes.conformance import check_sae

WIDTH = 16
ALL: tuple[Architecture, ...] = (
    "relu",
    "gated",
    "topk",
    "batchtopk",
    "matryoshka",
    "jumprelu",
    "matching_pursuit",
)


def rows(n: int, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=g)).Q
    return (torch.rand(n, WIDTH, generator=g) < 0.2) * (1 + torch.rand(n, WIDTH, generator=g)) @ basis


def recipe(architecture: Architecture = "batchtopk", **changes: Any) -> SAERecipe:
    settings: dict[str, Any] = {"d_sae": 20, "l0": 3, "steps": 40, "batch": 512, "dead_after": 10}
    return SAERecipe(architecture=architecture, **(settings | changes))


def endless(step: int) -> Tensor:
    """Batch `step` of a synthetic world."""
    return rows(256, seed=0)[torch.randperm(256, generator=torch.Generator().manual_seed(step))]


@pytest.mark.parametrize("architecture", ALL)
def test_stream_and_tensor_agree(architecture: Architecture) -> None:
    """1024 rows to train on: a stream's first 2^14 rows are each of them 16 times."""
    x = rows(1044)

    def batches() -> Iterator[Tensor]:
        g = torch.Generator().manual_seed(1)  # the recipe's seed and one
        while True:
            order = torch.randperm(1024, generator=g)
            yield x[order[:512]]
            yield x[order[512:]]

    streamed, whole = train_sae(batches(), recipe(architecture)), train_sae(x, recipe(architecture))
    for name, tensor in whole.tensors.items():
        assert torch.allclose(streamed.tensors[name], tensor, atol=1e-3), name
    assert streamed.meta["recipe"] == whole.meta["recipe"]


def test_a_function_is_called_once_a_batch_in_order() -> None:
    asked = []

    def batches(step: int) -> Tensor:
        asked.append(step)
        return endless(step)

    one = train_sae(batches, recipe())
    assert asked == list(range(64 + 40))  # 64 batches of 256 are the first 2^14 rows, as many more are held out
    again = train_sae((endless(i) for i in range(200)), recipe())
    assert one.fingerprint() == again.fingerprint()


def test_held_out_rows_come_after_the_last_step() -> None:
    sae = train_sae(endless, recipe(steps=100))
    rest = torch.cat([endless(i) for i in range(100, 164)])
    assert sae.meta["held_out"] == held_out_figures(sae, rest)
    assert sae.meta["held_out"]["l0"] == pytest.approx(3, rel=0.15)
    exact = train_sae((endless(i) for i in range(100)), recipe(steps=100))
    assert "held_out" not in exact.meta
    assert exact.fingerprint() == sae.fingerprint()


@pytest.mark.parametrize("architecture", ALL)
def test_snapshots_are_saes(architecture: Architecture) -> None:
    kept: dict[int, Any] = {}

    def keep(step: int, export: Any) -> None:
        if step in (0, 7, 40):
            kept[step] = export()

    x = rows(1044)
    last = train_sae(x, recipe(architecture), meta={"world": "w"}, on_step=keep)
    assert sorted(kept) == [0, 7, 40]
    for step, sae in kept.items():
        check_sae(sae, d_in=WIDTH, sample=x[:9])
        assert (sae.meta["step"], sae.meta["world"], sae.meta["architecture"]) == (step, "w", architecture)
    assert kept[40].fingerprint() == last.fingerprint()
    assert len({sae.fingerprint() for sae in kept.values()}) == 3
    assert last.fingerprint() == train_sae(x, recipe(architecture)).fingerprint()  # looking changes nothing


def test_early_snapshots_have_their_l0() -> None:
    """The exported threshold keeps up while the codes still grow."""
    kept: dict[int, Any] = {}

    def keep(step: int, export: Any) -> None:
        if step in (0, 100, 200):
            kept[step] = export()

    x = rows(20_000)
    train_sae(x, recipe(steps=400, lr=3e-3), on_step=keep)
    for step, sae in kept.items():
        assert held_out_figures(sae, x)["l0"] == pytest.approx(3, rel=0.2), step


@pytest.mark.parametrize("architecture", ALL)
def test_bfloat16_products_give_about_the_same_sae(architecture: Architecture) -> None:
    x = rows(1044)
    plain, half = (train_sae(x, recipe(architecture, bf16=on, steps=200, lr=3e-3)) for on in (False, True))
    assert plain.fingerprint() != half.fingerprint()
    gap = abs(plain.meta["held_out"]["explained_variance"] - half.meta["held_out"]["explained_variance"])
    assert gap < 0.1
    assert all(t.dtype == torch.float32 for t in half.tensors.values())


@pytest.mark.parametrize(
    ("batches", "sentence"),
    [
        ([], "the stream of activations is empty"),
        ([rows(64)] * 3, "ended after 3 of 40 steps"),
        ([rows(64), rows(64)[0]], r"batches \[b, d\] of one width d, not \[64, 16\], \[16\]"),
        ([rows(1 << 14), torch.ones(4, 5)], r"batch 1 of the stream has shape \[4, 5\] where \[b, 16\] is needed"),
    ],
)
def test_wrong_streams(batches: list[Tensor], sentence: str) -> None:
    with pytest.raises(SaebenchError, match=sentence):
        train_sae(batches, recipe())
