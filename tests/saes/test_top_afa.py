"""top-AFA: hand-worked choices, a loop over rows, its folder, and what it adapts to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import top_afa
from saebench_lite.loading import open
from saebench_lite.recipes.loop import train_sae
from saebench_lite.recipes.recipe import SAERecipe
from saebench_lite.recipes.train_sae import save
from saebench_lite.recipes.trainers import trainer_for
from saebench_lite.saes import top_afa as saes
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.conformance import check_sae
from saebench_lite.saes.top_afa import TopAFASAE, keep_by_norm
from tests.helpers.random_affine import random_affine
from tests.recipes.test_architectures import ACTIVE, FEATURES, trainer_of, world

ROWS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])


def by_hand(scale: float, rows: torch.Tensor = ROWS) -> TopAFASAE:
    affine = AffineSAE(W_enc=scale * ROWS.T, W_dec=rows, b_dec=torch.tensor([0.0, 1.0]))
    return TopAFASAE(affine, 1.0)


def test_worked_examples() -> None:
    """x = (3, 4) with b_dec (0, 1) is 3 sqrt 2 long; codes (3, 3, 4.2) reach 4.2, 5.16 and 5.97 in that order."""
    x = torch.tensor([[3.0, 4.0]])
    assert by_hand(1.0).encode(x)[0].tolist() == pytest.approx([0, 0, 4.2])
    assert by_hand(0.5).encode(x)[0].tolist() == pytest.approx([1.5, 1.5, 2.1])  # 2.1, 2.58, 2.99 of 4.24
    doubled = ROWS.clone()
    doubled[1] *= 2
    assert (by_hand(0.5, doubled).encode(x)[0] > 0).tolist() == [True, True, True]  # 3, 3.66, 3.96
    f = torch.tensor([[1.5, 1.5, 2.1], [0.0, 0.0, 0.0], [3.0, 4.0, 0.0]])
    kept = keep_by_norm(f, torch.tensor([1.0, 2.0, 1.0]), torch.tensor([3.7, 1.0, 8.1]))
    assert kept.tolist() == [pytest.approx([0, 1.5, 2.1]), [0, 0, 0], [0, 4.0, 0]]


def test_choice_against_a_loop_and_without_regard_to_how_much_is_sorted(monkeypatch) -> None:
    g = torch.Generator().manual_seed(0)
    f, sizes = torch.randn(40, 60, generator=g).relu(), 0.5 + torch.rand(60, generator=g)
    norm = 6 * torch.rand(40, generator=g)
    expected = torch.zeros_like(f)
    for row, target, out in zip(f, norm, expected, strict=True):
        order = (row * sizes).argsort(descending=True)
        reached = (row * sizes)[order].double().square().cumsum(0).sqrt()
        out[order[: 1 + int((reached - target).abs().argmin())]] = 1.0
    for first in (4, 128):
        monkeypatch.setattr(saes, "FIRST", first)
        torch.testing.assert_close(keep_by_norm(f, sizes, norm), f * expected)
    torch.testing.assert_close(keep_by_norm(3 * f, sizes, 3 * norm), 3 * f * expected)
    f.requires_grad_()
    keep_by_norm(f, sizes, norm).sum().backward()
    assert f.grad is not None
    assert torch.equal(f.grad[f > 0], expected[f > 0])


def test_the_loss_is_the_formula_and_the_export_the_trainers_codes() -> None:
    trainer, x = trainer_of("top_afa", afa=0.5)
    codes, share = trainer.codes(x), trainer.share.item()
    sae = trainer.export({"hook": "h"})
    torch.testing.assert_close(sae.encode(x / trainer.scale) * trainer.scale, codes.f, rtol=1e-4, atol=1e-4)
    error = x - codes.f @ trainer.decoder() - trainer.p["b_dec"]
    aim = share * (x - trainer.p["b_dec"]).norm(dim=1)
    expected = error.square().sum(1).mean() + 0.5 * (codes.f.norm(dim=1) - aim).square().mean()
    assert trainer.loss(x, 0).item() == pytest.approx(expected.item(), rel=1e-4)
    more = (codes.f > 0).sum(1).double().mean() > 3
    assert (trainer.share < share) == more  # more latents than the recipe's three: the share falls
    assert sae.meta == {"hook": "h"}


@pytest.mark.parametrize("frozen", ["encoder", "decoder"])
def test_a_frozen_half_exports_the_training_codes(frozen) -> None:
    x, _ = world(100)
    trainer = trainer_for(SAERecipe(architecture="top_afa", d_sae=24, l0=3, frozen=frozen), x)
    with torch.no_grad():
        for p in trainer.trained:
            p += 0.2 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    f = trainer.codes(x * trainer.scale).f.detach()
    torch.testing.assert_close(trainer.export({}).encode(x) * trainer.scale, f, rtol=1e-3, atol=1e-3)


def test_it_adapts_to_the_input_and_is_no_worse_than_topk() -> None:
    """Rows of a varying number of features; the mean L0 is that of TopK."""
    x, basis = world(12_000)
    recipe = {"d_sae": FEATURES, "l0": ACTIVE, "steps": 600, "batch": 256, "lr": 3e-3}
    ours, topk = (train_sae(x, SAERecipe(architecture=a, **recipe)) for a in ("top_afa", "topk"))
    held = ours.meta["held_out"]
    assert held["l0"] == pytest.approx(ACTIVE, rel=0.1)
    assert 1 - held["explained_variance"] < 1.02 * (1 - topk.meta["held_out"]["explained_variance"])
    fresh, _ = world(2000)
    counts = torch.stack([(ours.encode(fresh) > 0).sum(1).double(), ((fresh @ basis.T) > 0.5).sum(1).double()])
    assert torch.corrcoef(counts)[0, 1] > 0.6  # 0.15 of TopK, whose rows differ where codes are 0
    check_sae(ours, d_in=x.shape[1], sample=x[:9])


def test_its_folder(tmp_path: Path) -> None:
    one = by_hand(1.0)
    one.meta["hook"] = "h"
    save(one, tmp_path / "one")
    back = open.load(str(tmp_path / "one"))
    assert isinstance(back, TopAFASAE)
    assert back.fingerprint() == one.fingerprint() != TopAFASAE(one.affine, 0.5).fingerprint()
    assert back.meta == {"hook": "h"}
    assert back.to("cpu").share == 1.0
    header = tmp_path / "one" / top_afa.HEADER
    header.write_text(json.dumps({**json.loads(header.read_text()), "share": "half"}))
    with pytest.raises(SaebenchError, match="is no header of version 1 with a share; save it again"):
        top_afa.load(tmp_path / "one")


def test_what_cannot_be_is_a_sentence() -> None:
    with pytest.raises(SaebenchError, match="top-AFA needs relu codes of x - b_dec, not topk"):
        TopAFASAE(random_affine("topk"), 1.0)
    with pytest.raises(SaebenchError, match="a share of the norm above 0, not 0"):
        TopAFASAE(random_affine("relu"), 0)
