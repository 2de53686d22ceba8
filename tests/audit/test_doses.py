"""Planted faults: that each is what it says, that the true quantities see it, and that bad metrics are caught."""

import dataclasses
import json
from itertools import pairwise

import numpy as np
import pytest
import torch

from saebench_lite.audit import dose_bench, dose_hierarchy, doses
from saebench_lite.audit.dose_edits import DOSES, GRID, LEAK, root_child_pairs
from saebench_lite.audit.dose_truths import correlations, quantities
from saebench_lite.saes.conformance import check_sae

SEED = dose_bench.SEED


@pytest.mark.parametrize("fault", DOSES)
def test_dose_zero_changes_nothing_but_what_any_dose_changes(bench, fault):
    edited = DOSES[fault](bench.base, 0.0, SEED)
    assert torch.equal(edited.codes, bench.base.codes)
    assert torch.allclose(edited.decoder, bench.base.decoder, atol=1e-6)


@pytest.mark.parametrize("fault", DOSES)
def test_l0_stays_unless_density_is_the_fault(bench, fault):
    firings = [int((DOSES[fault](bench.base, dose, SEED).codes != 0).sum()) for dose in GRID]
    if fault in ("dense", "leak", "norm_detecting"):
        assert all(b >= a for a, b in pairwise(firings))
        assert firings[0] < firings[2] < firings[-1]
    else:
        assert set(firings) == {firings[0]}


@pytest.mark.parametrize("fault", DOSES)
def test_edits_are_pure_and_repeatable(bench, fault):
    before = bench.base.codes.clone(), bench.base.decoder.clone()
    one, two = (DOSES[fault](bench.base, 0.5, SEED) for _ in range(2))
    assert torch.equal(one.codes, two.codes)
    assert torch.equal(one.decoder, two.decoder)
    assert torch.equal(bench.base.codes, before[0])
    assert torch.equal(bench.base.decoder, before[1])
    if fault not in (
        "shrunken",
        "dead",
        "dense",
        "duplicated",
        "norm_detecting",
    ):  # these draw nothing, or too little in this world
        other = DOSES[fault](bench.base, 0.5, SEED + 1)
        assert not torch.equal(one.codes, other.codes)


@pytest.mark.parametrize("fault", ["missing", "merged", "split", "dead"])
def test_a_larger_dose_contains_the_smaller(bench, fault):
    base, planted = bench.base.codes, bench.base.planted
    where = slice(planted, None) if fault == "dead" else slice(planted)
    changed = []
    for dose in (0.25, 0.5, 1.0):
        codes = DOSES[fault](bench.base, dose, SEED).codes
        moved = (codes == 0).all(0) if fault == "dead" else (codes != base).any(0)
        changed.append(set(moved[where].nonzero()[:, 0].tolist()))
    assert changed[0] < changed[1] < changed[2]


def test_an_edited_oracle_is_an_sae_with_its_table_as_codes(bench):
    edited = DOSES["split"](bench.base, 0.5, SEED)
    sae = dose_bench.EditedOracle(bench.oracle, edited, "split")
    x = bench.model.activations(1)
    check_sae(sae, d_in=bench.model.width, sample=x[:64])
    rows = slice(len(x), 2 * len(x))
    assert torch.equal(sae.encode(x), edited.codes[rows])
    want = edited.codes[rows] @ edited.decoder + bench.model.world.bias
    assert torch.allclose(sae.decode(sae.encode(x)), want)
    assert sae.fingerprint() != bench.oracle.fingerprint()
    assert bench.oracle.d_sae == bench.base.planted  # the oracle itself is as it was


def test_absorption_is_planted_as_it_says(bench):
    edited = DOSES["absorbed"](bench.base, 1.0, SEED)
    pairs = root_child_pairs(bench.base)
    assert len(pairs) > 4
    for root, child in pairs:
        assert int(bench.base.parent[bench.base.features[child]]) == int(bench.base.features[root])
        assert not edited.codes[bench.base.codes[:, child] > 0, root].any()
        added = edited.decoder[child] - bench.base.decoder[child]
        assert torch.allclose(added, bench.base.decoder[root], atol=1e-6)


def test_leaks_and_shrinkage_are_of_their_size(bench):
    codes = DOSES["leak"](bench.base, 1.0, SEED).codes
    assert codes.min() == np.float32(LEAK)
    assert torch.equal(codes.clamp(max=LEAK * 2), torch.where(bench.base.codes > 0, LEAK * 2, LEAK).float())
    half = DOSES["shrunken"](bench.base, 1.0, SEED).codes[:, : bench.base.planted]
    assert torch.equal(half, bench.base.codes[:, : bench.base.planted] / 2)


def test_quantities_at_the_ends(true):
    todo, found = true
    at = {f: places[-1] for f, places in doses.series(todo).items()}
    assert found["best-latent AP"][0] == pytest.approx(1.0)
    assert found["MCC"][0] == pytest.approx(1.0, abs=1e-5)
    assert found["absorbed share"][0] == 0.0
    assert found["absorbed share"][at["absorbed"]] == pytest.approx(1.0)
    assert found["split share"][at["absorbed"]] == 0.0
    assert found["split share"][at["split"]] > 0.1
    assert abs(found["absorbed share"][at["split"]]) < 0.05
    assert found["best-latent AP"][at["missing"]] < 0.2
    assert np.isnan(found["absorbed share"][at["missing"]])
    assert found["dead share"][at["dead"]] == pytest.approx(0.25)
    for harmless in ("shrunken", "dense", "leak", "dead", "duplicated", "norm_detecting"):
        assert found["best-latent AP"][at[harmless]] == pytest.approx(1.0)
        assert found["MCC"][at[harmless]] == pytest.approx(1.0, abs=1e-5)
    for same in ("dead", "duplicated", "split"):
        assert found["true explained variance"][at[same]] == pytest.approx(
            found["true explained variance"][0], abs=1e-3
        )


def test_pathologies_are_those_of_their_faults(true):
    todo, found = true
    at = {f: places[-1] for f, places in doses.series(todo).items()}
    assert found["norm share"][at["norm_detecting"]] == pytest.approx(3 / 36)
    assert found["duplicate share"][at["split"]] == pytest.approx(0.5)
    assert found["shrunken share"][at["shrunken"]] == pytest.approx(24 / 36)
    assert found["size error"][at["shrunken"]] == pytest.approx(1.0, abs=0.02)
    assert found["size error"][at["missing"]] > 0.5
    own = {"norm share": "norm_detecting", "duplicate share": "split", "shrunken share": "shrunken"}
    for share, fault in own.items():
        others = [values for f, values in zip(at, found[share][list(at.values())], strict=True) if f != fault]
        assert max(others) < 0.1, share


def test_a_latent_that_falls_as_the_norm_rises_is_its_detector_too(bench):
    edited = DOSES["norm_detecting"](bench.base, 1.0, SEED)
    falling = edited.codes.clone()
    chosen = (falling == edited.norms[:, None]).all(0)
    falling[:, chosen] = edited.norms.max() - edited.norms[:, None]
    for codes in (edited.codes, falling):
        changed = dataclasses.replace(edited, codes=codes)
        assert quantities(changed, bench.planted)["norm share"] == pytest.approx(3 / 36)


def test_size_error_is_that_of_least_squares_on_each_latent_alone(bench):
    edited = DOSES["missing"](bench.base, 0.5, SEED)
    clean, codes = bench.planted.clean.double(), edited.codes.double()
    decoder = edited.decoder.double()
    multiple = []
    for i in range(edited.planted):
        others = codes @ decoder - torch.outer(codes[:, i], decoder[i])
        part = torch.outer(codes[:, i], decoder[i]).reshape(-1, 1)
        multiple.append(torch.linalg.lstsq(part, (clean - others).reshape(-1, 1)).solution.item())
    want = abs(float(np.median(multiple)) - 1)
    assert quantities(edited, bench.planted)["size error"] == pytest.approx(want, abs=1e-4)


def test_explained_variance_is_that_of_a_plain_loop(bench):
    edited = DOSES["noisy"](bench.base, 0.5, SEED)
    got = quantities(edited, bench.planted)["true explained variance"]
    clean = (bench.planted.clean.double()).numpy()
    back = edited.codes.double().numpy() @ edited.decoder.double().numpy()
    want = 1 - ((back - clean) ** 2).sum() / ((clean - clean.mean(0)) ** 2).sum()
    assert got == pytest.approx(want, rel=1e-4)


def test_correlations_are_numpys():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(50, 3, generator=g), torch.randn(50, 2, generator=g)
    want = np.corrcoef(x.T.numpy(), y.T.numpy())[:3, 3:]
    assert correlations(x, y).numpy() == pytest.approx(want, abs=1e-5)
    assert not correlations(torch.ones(5, 1), torch.randn(5, 1, generator=g)).any()


def test_tasks_on_edited_oracles_give_the_known_figures(bench):
    todo = doses.plan(("missing", "shrunken"), (0.0, 1.0))
    measured = [bench.measure(f, d) for f, d in todo]
    feature_f1 = [float(np.mean(m.values["truth", "feature_f1"][1])) for m in measured]
    assert bench.base.planted / len(bench.base.decoder) < feature_f1[0] < 0.9  # features in reach of the spare ones too
    assert feature_f1[1] < 0.5
    assert feature_f1[2] == feature_f1[0]
    rows = doses.judged(measured, todo, bench.names)
    by = {(r.task, r.metric): r for r in rows}
    assert by["reconstruction", "explained_variance"].construct == "fidelity"
    places = {m: (by["truth", m].headline, by["truth", m].shown) for m in ("mcc_calibrated", "feature_f1", "mcc")}
    assert places == {"mcc_calibrated": (True, True), "feature_f1": (False, True), "mcc": (False, False)}
    assert by["reconstruction", "explained_variance"].judgement.quantity == "true explained variance"
    assert [c.asked for c in by["truth", "feature_f1"].judgement.cells] == ["follow", "flat"]


def test_the_run_writes_both_files(tmp_path, monkeypatch):
    small = doses.plan(("missing", "leak"), (0.0, 0.5, 1.0))
    monkeypatch.setattr(doses, "plan", lambda: small)
    planting = dose_hierarchy.Planting(
        children=4, dose=0.5, silenced=0.4, figures=dict.fromkeys(dose_hierarchy.METRICS, 0.1)
    )
    monkeypatch.setattr(dose_hierarchy, "tables", lambda world, texts: [planting])
    rows = doses.run("tiny", tmp_path, texts=512, limit=4, jobs=2)
    page, content = (tmp_path / "doses.md").read_text(), json.loads((tmp_path / "doses.json").read_text())
    assert "| sparse_probing average_precision_max " in page
    assert "| sparse_probing accuracy_k5_mean (beside) " in page
    assert "`saebench-lite audit --doses --world tiny --limit 4`" in page
    assert [d for d in content["dictionaries"]] == ["base", "missing 0.5", "missing 1", "leak 0.5", "leak 1"]
    assert len(content["metrics"]) == len(rows) > 30


def test_worlds_with_more_children_keep_the_rest():
    from saebench_lite.worlds.spec import SMALL

    for n in (4, 40):
        spec = dose_hierarchy.with_children(SMALL, n)
        assert (spec.branching, spec.depth, spec.noise, spec.features) == (n, 1, SMALL.noise, SMALL.features)
        assert spec.in_trees <= spec.features // 2 + spec.roots


def test_absorption_is_recovered_one_to_one_or_named_as_splitting():
    def world(fraction, splits, f1):
        planted = np.linspace(0, 0.9, 6)
        values = zip(planted, fraction(planted), splits(planted), f1(planted), strict=True)
        return [
            dose_hierarchy.Planting(
                children=4, dose=d, silenced=p, figures=dict(zip(dose_hierarchy.METRICS, (a, a, s, f, a), strict=True))
            )
            for d, (p, a, s, f) in zip(GRID, values, strict=True)
        ]

    constant = np.zeros_like
    cases = {
        "recovered one to one": world(lambda p: 0.95 * p, lambda p: 1 + 0 * p, lambda p: 1 - p),
        "named as splitting": world(constant, lambda p: 1 + 3 * p, lambda p: 1 - p),
        "missed": world(constant, constant, lambda p: 1 - p),
    }
    for verdict, rows in cases.items():
        assert f"4 children: {verdict}." in dose_hierarchy.verdicts(rows)[0]
    assert "missed" in dose_hierarchy.verdicts(world(lambda p: 0.5 * p, constant, constant))[0]


def test_hierarchy_is_judged_where_its_claim_is_made():
    def rows(children, fraction, splits):
        doses = [0.0, 0.25, 0.5, 1.0]
        return [
            dose_hierarchy.Planting(
                children=children, dose=d, silenced=d, figures={"absorption_fraction": f, "splits": s}
            )
            for d, f, s in zip(doses, fraction, splits, strict=True)
        ]

    good = [*rows(4, [0, 0, 0, 0], [1, 2, 3, 4]), *rows(40, [0, 0.2, 0.5, 0.95], [1, 1, 1, 1])]
    assert dose_hierarchy.verdict_of(good, "absorption_fraction") == "passes"
    assert dose_hierarchy.verdict_of(good, "splits") == "passes"
    bad = [*rows(4, [0, 0.25, 0.5, 1], [1, 1, 2, 1]), *rows(40, [0, 0.1, 0.2, 0.4], [1, 2, 3, 4])]
    assert dose_hierarchy.verdict_of(bad, "absorption_fraction") == "misses"
    assert dose_hierarchy.verdict_of(bad, "splits") == "misses"
