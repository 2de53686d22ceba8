"""Changes and verdicts: the interval against statsmodels, verdicts on hand-made records, and real edits on noise."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats import sandwich_covariance

from saebench_lite.audit import attack_edits, attack_page
from saebench_lite.audit.attack_effects import (
    MARK,
    Change,
    Outcome,
    Refusal,
    effects,
    mean_change,
    paid,
    unit_changes,
)
from saebench_lite.audit.attack_weights import Calibration
from saebench_lite.records.metric import Better
from saebench_lite.records.record import Record
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.protocol import reconstruct
from saebench_lite.worlds.model import WorldModel
from tests.helpers.record_factory import made_up


def crossed(seed, saes=5, units=9, missing=0):
    r = np.random.default_rng(seed)
    u = 0.1 + r.normal(size=(saes, 1)) + r.normal(size=(1, units)) + 0.1 * r.normal(size=(saes, units))
    u.flat[r.choice(u.size, missing, replace=False)] = np.nan
    return u


@pytest.mark.parametrize("missing", [0, 7])
def test_interval_is_cameron_gelbach_and_millers(missing):
    u = crossed(0, missing=missing)
    known = np.isfinite(u)
    sae, unit = np.nonzero(known)
    fitted = OLS(u[known], np.ones(known.sum())).fit()
    # statsmodels multiplies each part by (N - 1) / (N - k), 1 here
    both, by_sae, by_unit = sandwich_covariance.cov_cluster_2groups(fitted, sae, unit)
    assert both[0, 0] > max(by_sae[0, 0], by_unit[0, 0])
    half = stats.t.ppf(0.95, 4) * np.sqrt(both[0, 0])
    change = mean_change(u)
    assert change == pytest.approx((np.nanmean(u), np.nanmean(u) - half, np.nanmean(u) + half))


def test_one_sae_or_one_unit_is_the_t_interval_over_the_other():
    x = np.random.default_rng(1).normal(size=(1, 8))
    want = stats.t.interval(0.9, 7, loc=x.mean(), scale=stats.sem(x[0]))
    for u in (x, x.T):
        assert mean_change(u)[1:] == pytest.approx(want)
    assert mean_change(x[:, :1]) == (x[0, 0], None, None)


def test_interval_follows_shift_scale_and_order():
    u = crossed(2)
    change = np.array(mean_change(u))
    assert np.array(mean_change(3 + 2 * u)) == pytest.approx(3 + 2 * change)
    assert np.array(mean_change(u[::-1, ::-1])) == pytest.approx(change)
    assert np.array(mean_change(u.T)) == pytest.approx(change)


def test_an_interval_over_saes_and_units_rejects_a_true_null_rarely():
    """Plain Student over all cells would reject in a third of draws: SAEs and units have effects of their own."""
    r = np.random.default_rng(3)
    rises = plain = 0
    for _ in range(400):
        u = r.normal(size=(5, 1)) + r.normal(size=(1, 12)) + 0.3 * r.normal(size=(5, 12))
        rises += mean_change(u).rises
        plain += float(np.asarray(stats.ttest_1samp(u.ravel(), 0, alternative="greater"))[1]) < 0.05
    assert rises / 400 < 0.09
    assert plain / 400 > 0.2


METRICS: dict[str, Better] = {"up": "higher", "down": "lower", "flat": "higher", "tiny": "higher", "count": "neither"}


def hand_made():
    """Two SAEs under one attack: `up` rises by .1, the error `down` too, `tiny` by .001, `flat` by noise."""
    r = np.random.default_rng(4)
    records = []
    for name in ("a", "b"):
        base = {m: r.random((12, 1)) for m in METRICS}
        shift = {"up": 0.1, "down": 0.1, "flat": 0.0, "tiny": 0.001, "count": 5.0}
        noise = {m: 0.02 * r.normal(size=(12, 1)) * (m != "tiny") for m in METRICS}
        edited = {m: base[m] + shift[m] + noise[m] for m in METRICS}
        for subject, values in ((name, base), (f"{name}{MARK}edit", edited)):
            records.append(made_up(subject, values, seeds=(), metrics=METRICS, headline=["flat"], beside=("up",)))
    return records


def test_verdicts_by_hand():
    found = {e.metric: e for e in effects(hand_made(), {})}
    assert list(found) == ["flat", "up", "down", "tiny"]  # headlines first, no metric without a direction
    verdicts = {m: e.verdict for m, e in found.items()}
    assert verdicts == {"flat": "does not pay", "up": "pays", "down": "lowers", "tiny": "does not pay"}
    assert found["up"].shown
    assert not found["down"].shown
    assert found["up"].change.mean == pytest.approx(0.1, abs=0.02)
    assert (found["up"].saes, found["up"].units) == (2, 12)
    assert json.dumps([dataclasses.asdict(e) for e in found.values()])


def test_records_read_from_disk_give_the_same_effects(tmp_path):
    records = hand_made()
    assert effects([Record.load(r.save(tmp_path)) for r in records], {}) == effects(records, {})


def test_what_rises_with_recovery_does_not_pay():
    r = np.random.default_rng(5)
    values = {n: r.random(30) for n in ("a", "b")}
    recoveries = {n: {"ap": v, "mcc": v} for n, v in values.items()}
    same = {f"{n}{MARK}edit": {"ap": v, "mcc": v + 0.1} for n, v in values.items()}
    more = {f"{n}{MARK}edit": {"ap": v + 0.1 + 0.01 * r.random(30), "mcc": v} for n, v in values.items()}
    by = {(e.task, e.metric): e.verdict for e in effects(hand_made(), {**recoveries, **same})}
    assert by["sparse_probing", "up"] == "pays"
    assert by["recovery", "mcc"] == "pays"
    assert by["recovery", "ap"] == "does not pay"
    by = {(e.task, e.metric): e.verdict for e in effects(hand_made(), {**recoveries, **more})}
    assert by["sparse_probing", "up"] == by["recovery", "ap"] == "rises with recovery"
    assert by["sparse_probing", "down"] == "lowers"


def test_unit_changes_are_weighted_and_turned():
    r = np.random.default_rng(6)
    x, y, w = r.random((5, 1)), r.random((5, 1)), 1 + r.random((5, 1))
    a, b = (made_up(n, {"delta": v}, weights=w, seeds=()) for n, v in (("a", x), ("b", y)))
    changes = unit_changes(a, b, "delta")
    assert np.mean(list(changes.values())) == pytest.approx(np.average(x, weights=w) - np.average(y, weights=w))
    assert unit_changes(a, b, "auroc") == {}
    assert unit_changes(a, made_up("c", {"l0": y}, seeds=()), "delta") == {}


def test_unit_changes_stay_with_their_units_in_whichever_order_records_list_them():
    x, y = np.random.default_rng(8).random((2, 5, 1))
    a, b = (made_up(n, {"auroc": v}, seeds=()) for n, v in (("a", x), ("b", y)))
    stored = b.per_unit["auroc"]
    b.per_unit["auroc"] = dataclasses.replace(stored, units=stored.units[::-1], values=stored.values[::-1])
    assert unit_changes(a, b, "auroc") == pytest.approx({f"u{i}": d for i, d in enumerate((y - x)[:, 0])})


def test_only_claims_an_edit_could_fake_are_on_trial():
    constructs = {"up": "fidelity", "down": "hierarchy", "flat": "recovery", "tiny": "sparsity", "count": "cost"}
    records = [
        dataclasses.replace(
            r,
            task=dataclasses.replace(
                r.task,
                metrics={m: dataclasses.replace(about, construct=constructs[m]) for m, about in r.task.metrics.items()},
            ),
        )
        for r in hand_made()
    ]
    assert [e.metric for e in effects(records, {})] == ["flat", "down"]


def test_one_verdict_a_metric_names_what_pays_or_what_is_not_ruled_out():
    up = next(e for e in effects(hand_made(), {}) if e.metric == "up")
    more = dataclasses.replace(up, attack="more", change=Change(0.2, 0.15, 0.25))
    less = dataclasses.replace(up, attack="less", change=Change(0.1, 0.09, 0.11))
    none = dataclasses.replace(up, attack="none", change=Change(-0.01, -0.04, 0.02), verdict="does not pay")
    worse = dataclasses.replace(up, attack="worse", change=Change(-0.1, -0.11, -0.09), verdict="lowers")
    single = dataclasses.replace(none, change=Change(0.3, None, None))
    assert paid([less, none, more]) == "pays: more +0.200 (noise 0.050), less +0.100 (noise 0.010)"
    assert paid([worse, none]) == paid([none, worse, single]) == "no attack pays; at most +0.020 (none -0.010)"
    assert paid([single]) == "no attack pays"


def page_of(found, **rest):
    attack = attack_edits.Attack("edit", "an edit", attack_edits.leaky, 1.0)
    outcome = Outcome(model="world:w", effects=found, **{"refused": [], "means": {}, **rest})
    return attack_page.markdown(outcome, [attack], ["a", "b"], "the command")


def test_page_marks_what_pays_and_groups_what_was_refused():
    refused = [Refusal(sae="c", attack=a, reason="it is gated") for a in ("x", "y")]
    text = page_of(effects(hand_made(), {}), refused=refused, means={"edit": {"l0": (4.0, 8.0)}})
    assert "Command: `the command`" in text
    assert "- edit: an edit" in text
    assert re.search(r"\| edit +\| 4.000 → 8.000 \|", text)
    row = next(line for line in text.splitlines() if line.count("[") == 4)
    cells = [c.strip() for c in row.split("|")[1:-1]]
    assert cells[0] == "edit"
    assert [c.endswith("**pays**") for c in cells[1:]] == [False, True, False, False]
    assert "- c (x, y): it is gated" in text
    assert re.search(r"\| sparse_probing up +\| \S+ +\| pays: edit", text)
    assert "No true features are known here" in text


def test_page_sets_headlines_beside_the_truth():
    r = np.random.default_rng(8)
    before = {n: {"ap": r.random(30)} for n in ("a", "b")}
    after = {f"{n}{MARK}edit": {"ap": of["ap"] + 0.1 + 0.01 * r.random(30)} for n, of in before.items()}
    found = effects(hand_made(), {**before, **after})
    compared = [dataclasses.replace(e, metric="average_precision_max") if e.metric == "up" else e for e in found]
    text = page_of(compared)
    table = text.split("## Headlines of today, those before, and the truth")[1].split("##")[0]
    assert re.search(r"\| edit +\| AP, max-pooled +\| truth: AP of features +\|", table)
    assert table.count("*r*") == 2
    assert re.search(r"Recovery of the true features rises under edit \(0\.10", text)
    assert "recovery ap" not in text.split("## Verdicts")[1].split("##")[0]
    assert "none of the edits" in page_of([e for e in compared if not e.change.rises] + [unmoved(found)])


def unmoved(found):
    truth = next(e for e in found if (e.task, e.metric) == ("recovery", "ap"))
    return dataclasses.replace(truth, change=Change(0.0, -0.01, 0.01), verdict="does not pay")


@pytest.mark.parametrize("name", ["ladder", "width"])
def test_a_maximum_over_latents_on_training_rows_is_caught_and_its_reconstruction_is_not(name):
    """Labels are coin flips: the best training F1 among latents knows nothing and rises with their number."""
    lm = WorldModel.load("tiny")
    g = torch.Generator().manual_seed(7)
    labels = torch.rand(10, 40, generator=g) < 0.5
    known = Calibration(lm.world.sample(1024, "attack effects")[0], 1)
    x = lm.world.sample(40, "attack effects rows")[0]
    attack = next(a for a in attack_edits.ATTACKS if a.name == name)

    def scored(subject, sae):
        mean = [(sae.encode(x)[y].mean(0) - sae.encode(x)[~y].mean(0)) / sae.encode(x).std(0) for y in labels]
        gameable = np.array([[m.nan_to_num().max().item()] for m in mean])
        error = (reconstruct(sae, x) - x).square().sum(1).view(10, 4).mean(1, keepdim=True)
        values = {"gameable": gameable, "invariant": -error.double().numpy()}
        return made_up(subject, values, seeds=(), metrics={"gameable": "higher", "invariant": "higher"})

    records = []
    for i in range(3):
        rows = torch.randn(16, 24, generator=g)
        sae = AffineSAE(
            W_enc=rows.T / 5, W_dec=rows, activation=("relu", "jumprelu", "relu")[i], threshold=torch.full((16,), 0.5)
        )
        records += [scored(f"s{i}", sae), scored(f"s{i}{MARK}{name}", attack(sae, known))]
    verdicts = {e.metric: e.verdict for e in effects(records, {})}
    assert verdicts == {"gameable": "pays", "invariant": "does not pay"}
