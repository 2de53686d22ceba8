"""Stability over training seeds: planted answers, what must not matter, and what is refused."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from saebench_lite.cli.main import app
from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import native
from saebench_lite.runs.stability import FIGURES, Stability, stability
from saebench_lite.runs.stability_report import stability_of, to_json, to_text
from saebench_lite.saes.affine import AffineSAE

D, M = 24, 60


def directions(seed: int, m: int = M) -> torch.Tensor:
    rows = torch.randn(m, D, generator=torch.Generator().manual_seed(seed))
    return rows / rows.norm(dim=1, keepdim=True)


def made(rows: torch.Tensor, seed: int = 0, bias: float = -0.35, **meta: object) -> AffineSAE:
    told = {"recipe": {"architecture": "relu", "l0": 4, "seed": seed}, **meta}
    return AffineSAE(W_enc=rows.T, W_dec=rows, b_enc=torch.full((len(rows),), bias), meta=told)


def planted(seed: int, shared: int = 20) -> AffineSAE:
    """An SAE of which `shared` latents are those of any other seed, in an order of its own."""
    rows = torch.cat([directions(1000)[:shared], directions(seed)[shared:]])
    order = torch.randperm(M, generator=torch.Generator().manual_seed(seed))
    return made(rows[order], seed)


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    rows = torch.randn(800, D, generator=torch.Generator().manual_seed(5))
    return rows / rows.norm(dim=1, keepdim=True)


@pytest.fixture(scope="module")
def found(x: torch.Tensor) -> Stability:
    return stability({f"s{i}": planted(i) for i in (1, 2, 3)}, x)


def test_the_share_that_was_planted_comes_back(found: Stability):
    assert set(found.mean) == set(FIGURES)
    assert found.mean["shared"] == pytest.approx(20 / M, abs=0.04)
    assert found.mean["shared_strict"] == pytest.approx(20 / M, abs=0.001)
    assert found.mean["shared_null"] < 0.05
    assert found.mean["correlated"] == pytest.approx(20 / M, abs=0.05)
    assert found.mean["correlation_null"] < 0.2 < found.mean["correlation"]
    assert found.mean["mcc_null"] < found.mean["mcc"] < 1
    assert found.mean["pw_mcc"] >= found.mean["mcc"]
    assert found.mean["mcc_calibrated"] == pytest.approx(
        np.mean([(p.figures["mcc"] - p.figures["mcc_null"]) / (1 - p.figures["mcc_null"]) for p in found.pairs])
    )
    assert len(found.pairs) == 3
    for pair in found.pairs:
        assert pair.mcc_interval[0] < pair.figures["mcc"] < pair.mcc_interval[1]
    assert found.notes == []


def test_seeds_that_learn_the_same_are_wholly_stable_and_random_ones_are_chance(x: torch.Tensor):
    same = stability({f"s{i}": planted(i, M) for i in (1, 2, 3)}, x)
    for name in ("mcc", "mcc_calibrated", "shared", "shared_strict", "pw_mcc", "shared_by_firing", "shared_by_mass"):
        assert same.mean[name] == pytest.approx(1.0, abs=1e-5)
    assert same.mean["correlation"] == pytest.approx(1.0, abs=1e-5)
    assert same.error["mcc"] == pytest.approx(0.0, abs=1e-6)
    assert "subspace_unshared" not in same.mean
    chance = stability({f"s{i}": planted(i, 0) for i in (1, 2, 3)}, x)
    assert chance.mean["mcc_calibrated"] == pytest.approx(0.0, abs=0.05)
    assert chance.mean["subspace"] == pytest.approx(1 / 8, abs=0.15)


def test_masses_against_a_loop(x: torch.Tensor):
    a, b = planted(1), planted(2)
    a.tensors["W_dec"] = a.W_dec * torch.linspace(0.5, 3, M)[:, None]
    got = stability({"a": a, "b": b}, x).pairs[0].figures
    firing, mass = [], []
    for sae in (a, b):
        f, rows = sae.encode(x).double().numpy(), sae.W_dec.double().numpy()
        size = np.linalg.norm(rows, axis=1)
        stable = (rows @ directions(1000)[:20].double().numpy().T / size[:, None]).max(1) > 0.999
        firing.append((f != 0).sum(0)[stable].sum() / (f != 0).sum())
        mass.append((f.sum(0) * size)[stable].sum() / (f.sum(0) * size).sum())
    assert got["shared_by_firing"] == pytest.approx(np.mean(firing), abs=0.06)
    assert got["shared_by_mass"] == pytest.approx(np.mean(mass), abs=0.06)


def test_order_scale_and_dead_latents_do_not_matter(x: torch.Tensor, found: Stability):
    changed = {}
    for i in (1, 2, 3):
        sae, order = planted(i), torch.randperm(M, generator=torch.Generator().manual_seed(9 + i))
        dead = (
            torch.cat([sae.W_enc[:, order] * 2, torch.zeros(D, 7)], 1),
            torch.cat([sae.b_enc[order] * 2, -torch.ones(7)]),
        )
        rows = torch.cat([sae.W_dec[order] / 2, directions(77 + i, 7)])
        changed[f"s{i}"] = AffineSAE(W_enc=dead[0], b_enc=dead[1], W_dec=rows, meta=sae.meta)
    again = stability(changed, x)
    assert again.dead == [(found.dead or [])[i] + 7 for i in range(3)]
    for name in ("mcc", "shared", "pw_mcc", "correlation", "correlated", "shared_by_mass", "subspace"):
        assert again.mean[name] == pytest.approx(found.mean[name], abs=1e-5), name


def test_without_activations_rows_alone_are_compared():
    got = stability({f"s{i}": planted(i) for i in (1, 2, 3)})
    assert (got.dead, got.tokens) == (None, 0)
    assert "correlation" not in got.mean
    assert got.notes == ["without activations dead latents are not known and count as any other"]


def test_a_shared_initialisation_is_refused(x: torch.Tensor):
    start = directions(3)
    moved = [start + 1.5 * directions(seed) for seed in (1, 2)]  # cosine with the start .55, with each other .31
    with pytest.raises(SaebenchError, match="'a' and 'b' share their initialisation"):
        stability({"a": made(moved[0], 1), "b": made(moved[1], 2)}, x)
    with pytest.raises(SaebenchError, match="share their initialisation"):
        stability({"a": planted(1), "b": planted(2), "c": planted(1)})


@pytest.mark.parametrize(
    ("saes", "sentence"),
    [
        ({"a": planted(1)}, "1 SAE was given, give three or more"),
        ({"a": planted(1), "b": AffineSAE(W_enc=torch.ones(8, 3), W_dec=torch.eye(3, 8))}, "different width"),
        ({"a": planted(1), "b": made(directions(2), bias=-9.0)}, "no latent of 'b' fires"),
    ],
)
def test_what_cannot_be_compared_is_refused(saes: dict[str, AffineSAE], sentence: str, x: torch.Tensor):
    with pytest.raises(SaebenchError, match=sentence):
        stability(saes, x)


def test_saes_without_names_are_refused():
    with pytest.raises(SaebenchError, match=r"^saes is a list; give \{name: SAE\}, three or more$"):
        stability([planted(1), planted(2), planted(3)])  # type: ignore[arg-type]


def test_notes_on_few_seeds_other_recipes_and_untold_seeds(x: torch.Tensor):
    other = planted(2)
    other.meta = {"recipe": {"architecture": "topk", "l0": 4, "seed": 1}}
    notes = stability({"a": planted(1), "b": other}, x).notes
    assert "two SAEs are one pair" in notes[0]
    assert "different recipes" in notes[1]
    assert "do not tell different training seeds (1, 1)" in notes[2]
    assert stability({"a": planted(1), "b": planted(2)}, x).error["mcc"] is None


def test_table_json_and_command(tmp_path, found: Stability):
    text = to_text(found)
    assert "| mcc " in text
    assert "3 SAEs, 3 pairs; pairs share SAEs and are not independent" in text
    written = json.loads(json.dumps(to_json(found), allow_nan=False))
    assert written["mean"]["mcc"]["value"] == pytest.approx(found.mean["mcc"], rel=1e-5)
    for i in (1, 2, 3):
        native.save(planted(i), tmp_path / f"seed_{i}", "float32")
    done = CliRunner().invoke(
        app, ["stability", str(tmp_path / "seed_*"), "--out", str(tmp_path / "s.json"), "--quiet"]
    )
    assert done.exit_code == 0, done.output
    assert "b: seed_2" in done.output
    assert json.loads((tmp_path / "s.json").read_text())["saes"] == ["seed_1", "seed_2", "seed_3"]
    with pytest.raises(SaebenchError, match="--hook is given without --model"):
        stability_of([str(tmp_path / "seed_*")], hook="blocks.2.hook_resid_post")
    with pytest.raises(SaebenchError, match="--model is given without --hook"):
        stability_of([str(tmp_path / "seed_*")], model="gpt2")
