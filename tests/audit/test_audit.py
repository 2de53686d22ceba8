"""Grades from hand-made records whose right answer is known; the panel trained for real on the tiny world."""

import dataclasses

import numpy as np
import pytest
from scipy import stats as reference

from saebench_lite import registry
from saebench_lite.api.baseline import Baseline
from saebench_lite.api.registered import is_random_control
from saebench_lite.audit import correlations, duel, figures, grade, page, panel
from saebench_lite.audit.evaluate import CONTROLS, REGIMES, Evaluation, evaluate
from saebench_lite.errors import NotApplicable
from saebench_lite.records.metric import Better
from saebench_lite.records.record import Record
from saebench_lite.records.types import Kind
from saebench_lite.stats.intervals import standard_error
from saebench_lite.worlds.spec import parse
from tests.helpers.record_factory import made_up

METRICS: dict[str, Better] = {
    "auroc_k1_mean": "higher",
    "auroc_k5_mean": "higher",
    "error": "lower",
    "ratio": "one",
    "wrong": "higher",
    "noisy": "higher",
    "count": "neither",
}


def record(task, name, meta, scores, kind: Kind = "sae") -> Record:
    """scores: metric -> per-seed values; five units alike."""
    better: dict[str, Better] = {m: METRICS.get(m, "higher") for m in scores}
    values = {m: np.array(v, dtype=float)[None].repeat(5, 0) for m, v in scores.items()}
    made = {
        m: made_up(name, {m: v}, task=task, kind=kind, seeds=tuple(range(v.shape[1])), metrics=better, meta=meta)
        for m, v in values.items()
    }
    scores = {m: dataclasses.replace(r.scores[m], low=None, high=None) for m, r in made.items()}
    first = next(iter(made.values()))
    about = dataclasses.replace(first.task, metrics={m: r.task.metrics[m] for m, r in made.items()})
    return dataclasses.replace(first, task=about, scores=scores, per_unit={})


def subjects():
    """(name, meta, kind, quality): two architectures of six, a training followed, oracle, random control."""
    r = np.random.default_rng(0)
    for architecture in ("a", "b"):
        for i in range(6):
            name = f"{architecture}{i}"
            meta = {"panel": {"of": name, "share": 1.0, "architecture": architecture}}
            yield name, meta, "sae", 0.3 + 0.1 * i + 0.02 * r.random()
    for share in (0.0, 0.1, 0.5):
        meta = {"panel": {"of": "a5", "share": share, "architecture": "a"}}
        yield f"a5@{share}", meta, "sae", 0.1 + share / 2
    yield "oracle", {}, "oracle", 1.0
    yield "matched_random of a3", {}, "control", 0.05


def records():
    r = np.random.default_rng(1)
    out = []
    for name, meta, kind, q in subjects():
        seeds = lambda value, sd: value + sd * r.standard_normal(3)  # noqa: E731
        out.append(record("truth", name, meta, {t: [q] * 3 for t in grade.TRUTHS}, kind))
        scores = {
            "auroc_k1_mean": seeds(q, 0.001),
            "auroc_k5_mean": seeds(q, 0.001),
            "error": seeds(1 - q, 0.001),
            "ratio": seeds(2 - q, 0.001),
            "wrong": seeds(1 - q, 0.001),
            "noisy": seeds(q, 0.3),
            "count": seeds(q, 0.001),
        }
        out.append(record("task", name, meta, scores, kind))
    return out


@pytest.fixture(scope="module")
def grades():
    return {g.metric: g for g in grade.grades(records())}


def test_a_sound_metric_gets_an_a_whatever_its_direction(grades):
    for metric in ("auroc_k1_mean", "error", "ratio"):
        g = grades[metric]
        assert g.grade == "A"
        assert g.truth > 0.98
        assert g.truth_low <= g.truth <= g.truth_high
        assert g.growth == pytest.approx(1.0)
        assert g.oracle_first
        assert g.random_last
        assert g.noise == pytest.approx(0.001 / 0.95, rel=0.5)
    assert grades["auroc_k1_mean"].settings == pytest.approx(1.0, abs=0.02)
    assert grades["error"].settings is None


def test_what_disagrees_with_the_truth_fails_and_noise_costs_letters(grades):
    assert grades["wrong"].grade == "F"
    assert grades["wrong"].truth < -0.98
    assert not grades["wrong"].oracle_first
    assert grades["noisy"].grade > "B"
    assert grades["noisy"].power < 3
    assert grades["noisy"].noise > 0.1
    assert "count" not in grades


def test_power_is_spread_over_noise(grades):
    rows = {r.subject.name: r.scores["noisy"] for r in records() if r.task.name == "task"}
    trained = [n for n in rows if n[0] in "ab" and "@" not in n]
    sd = np.sqrt(np.mean([np.var(rows[n].per_seed, ddof=1) for n in trained]))
    by = [np.std([rows[f"{a}{i}"].value for i in range(6)], ddof=1) / sd for a in "ab"]
    assert grades["noisy"].power == pytest.approx(np.sqrt(np.prod(by)))


def test_rank_formulas_against_scipy():
    r = np.random.default_rng(2)
    x, y = r.integers(5, size=30).astype(float), r.random(30)
    assert correlations.spearman(x, y) == pytest.approx(reference.spearmanr(x, y)[0])
    assert np.isnan(correlations.spearman(np.ones(5), y[:5]))
    assert correlations.mean_rank(np.array([[1.0, 2, 3], [3, 1, 2]])).tolist() == [2, 1.5, 2.5]


def test_bootstrap_is_the_correlation_of_subjects_drawn_with_replacement():
    r = np.random.default_rng(4)
    x, y = r.integers(6, size=12).astype(float), r.random(12)
    got = correlations.bootstrap_spearman([x, y], y, "seed", draws=50)
    drawn = correlations.rng("audit bootstrap", "seed").integers(12, size=(50, 12))
    assert got[:, 0] == pytest.approx([reference.spearmanr(x[s], y[s])[0] for s in drawn])
    assert got[:, 1] == pytest.approx(np.ones(50))


def test_letters():
    good: dict[str, float | None] = {"noise": 0.01, "growth": 0.9, "power": 9.0, "settings": 0.9}
    assert grade.letter(0.9, good) == "A"
    assert grade.letter(0.9, good | {"power": 1.0}) == "B"
    assert grade.letter(0.4, good | {"power": 1.0, "noise": 0.5}) == "D"
    assert grade.letter(0.9, dict.fromkeys(good)) == "A"
    assert grade.letter(0.29, good) == "F"
    assert grade.letter(float("nan"), good) == "F"


def test_noise_without_seeds_is_the_standard_error_over_units_whatever_the_interval():
    r = np.random.default_rng(5)
    values = r.gamma(0.5, size=(9, 1))
    clipped = made_up("a", {"auroc": values}, seeds=())
    clipped.scores["auroc"] = dataclasses.replace(clipped.scores["auroc"], high=1.0)
    assert grade.signed_score(clipped, "auroc").error == pytest.approx(reference.sem(values[:, 0]))
    assert grade.signed_score(made_up("a", {"auroc": values[:1]}, seeds=()), "auroc").error is None
    weights = r.gamma(2.0, size=(9, 1))
    weighted = grade.signed_score(made_up("a", {"delta": values}, seeds=(), weights=weights), "delta")
    assert weighted.value == pytest.approx(-np.average(values, weights=weights))
    assert weighted.error == pytest.approx(standard_error(values[:, 0], weights[:, 0]))


def test_random_controls_are_told_by_the_control_not_by_the_sae_it_was_made_of():
    rows = records()
    q = {t: [0.2] * 3 for t in grade.TRUTHS}
    rows += [record("truth", n, {}, q, "control") for n in ("permuted_decoder of random_init", "random_topk")]
    assert grade.roles_of(rows).random == ["matched_random of a3", "random_topk"]


def test_settings_are_read_off_the_name():
    assert grade.setting_of("auroc_k10_last") == ("auroc", "k10 last")
    assert grade.setting_of("average_precision_mean") == ("average_precision", "mean")
    assert grade.setting_of("f1") == ("f1", "")


def test_contradictions(grades):
    names = [f"a{i}" for i in range(6)]
    three = [grades["auroc_k1_mean"], grades["error"], grades["wrong"]]
    scores = np.array([[g.values[n] for n in names] for g in three])
    assert correlations.contradictions(scores).tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]


def probing_records():
    """The headline follows the truth, plain probing runs against it; reconstruction for the table of architectures."""
    METRICS.update(average_precision_max="higher", explained_variance="higher", l0="neither")
    r, out = np.random.default_rng(3), []
    for name, meta, kind, q in subjects():
        truth = {t: [q] * 3 for t in grade.TRUTHS} | {"mcc": [q], "true_l0": [9.0]}
        out.append(record("truth", name, meta, truth, kind))
        scores = {"average_precision_max": q + 0.01 * r.random(3), "auroc_k1_mean": 1 - q + 0.01 * r.random(3)}
        out.append(record("sparse_probing", name, meta, scores, kind))
        out.append(record("reconstruction", name, meta, {"explained_variance": [q], "l0": [20 * q]}, kind))
    return out


def test_duel_by_hand_and_page():
    rows = probing_records()
    grades, roles = grade.grades(rows), grade.roles_of(rows)
    first, plain = duel.duel(rows, grades, roles)
    assert (first.metric, first.ahead) == ("average_precision_max", None)
    assert first.truth > 0.98 > -0.98 > plain.truth
    assert plain.ahead is not None
    assert plain.ahead[0] == pytest.approx(first.truth - plain.truth)
    assert 1.8 < plain.ahead[1] <= plain.ahead[2] <= 2
    assert first.within > 0.9
    assert plain.within < -0.9
    at = duel.architectures(rows, roles)
    assert [name for name, _ in at] == ["b", "a"] or [name for name, _ in at] == ["a", "b"]
    assert all(abs(figures["l0"] - 9) < 2 for _, figures in at)
    text = page.markdown(grades, rows, "hand-made", "the command")
    assert "12 SAEs of 2 architectures (a, b)" in text
    assert "| F       | sparse_probing auroc_k1_mean" in text
    assert "Command: `the command`" in text


class Follows:
    """Progress that hands each update to a function."""

    def __init__(self, update):
        self.update = update


def test_panel_is_trained_once_and_again_when_the_recipe_changes(tmp_path):
    small = {"world": "tiny", "batch": 32, "architectures": ("topk", "matching_pursuit"), "sparsities": (0.5, 1.0, 2.0)}
    spec = panel.PanelSpec(**small, steps=50)
    seen = []
    progress = Follows(lambda stage, done, total: seen.append((done, total)))
    folders = panel.build(spec, tmp_path, progress=progress)
    assert len(folders) == 6 + 5
    assert [f.name.split("@")[1] for f in folders if "@" in f.name] == ["0", "0.02", "0.06", "0.2", "0.5"]
    assert seen[0] == (0, 6)
    sae = panel.load(tmp_path / "topk_l0_4")
    assert (sae.d_in, sae.d_sae) == (24, parse("tiny").features // 4)
    seen.clear()
    panel.build(spec, tmp_path, progress=progress)
    assert seen == [(6, 6)]
    (tmp_path / "topk_l0_4" / "sae.safetensors").write_bytes(b"broken")
    seen.clear()
    panel.build(spec, tmp_path, progress=progress)
    assert seen[0] == (5, 6)
    seen.clear()
    panel.build(panel.PanelSpec(**small, steps=51), tmp_path, progress=progress)
    assert seen[0] == (0, 6)


def test_figures_are_the_same_bytes_each_time_and_linked(tmp_path):
    pytest.importorskip("matplotlib")
    rows = probing_records()
    grades = grade.grades(rows)
    drawn = figures.draw(grades, rows, tmp_path / "a")
    assert figures.draw(grades, rows, tmp_path / "b") == drawn
    assert [file for _, file in drawn] == ["truth.svg", "points.svg", "power.svg"]
    text = page.markdown(grades, rows, "hand-made", "the command", drawn)
    for caption, file in drawn:
        svg = (tmp_path / "a" / file).read_text()
        assert svg == (tmp_path / "b" / file).read_text()
        assert "<dc:date>" not in svg
        assert f"![{caption}]({file})" in text
    assert "sparse_probing average_precision_max" in (tmp_path / "a" / "truth.svg").read_text()


def test_without_matplotlib_one_sentence_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(figures.importlib.util, "find_spec", lambda name: None)
    assert figures.draw([], [], tmp_path) == []
    wanted = "figures are left out: they need matplotlib; install it with pip install 'saebench-lite[plots]'"
    assert caplog.messages == [wanted]


PLUGIN = """
from dataclasses import dataclass
from saebench_lite import Card, Metric, Scores, Task

CARD = Card(
    name="widths", version=1, description="how many latents there are", source="counting", headline=("latents",),
    metrics=(Metric(name="latents", meaning="latents", better="higher"),), seeded=False,
)

@dataclass(frozen=True)
class Config:
    pass

def evaluate(subject, ctx, prepared, config, seeds):
    scores = Scores()
    scores.add("latents", subject.require_sae().d_sae, unit="all")
    return scores

TASKS = {"widths": Task(CARD, Config, lambda ctx, config, seeds: None, evaluate)}
"""


def test_two_processes_write_what_one_would_read(tmp_path, caplog, monkeypatch):
    (tmp_path / "widths_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    with registry.only_within():
        two_processes(tmp_path, caplog)


def two_processes(tmp_path, caplog):
    spec = panel.PanelSpec(
        world="tiny", steps=50, batch=32, architectures=("topk",), sparsities=(1.0,), snapshots=(0.0,)
    )
    folders = panel.build(spec, tmp_path / "saes")
    todo = Evaluation(
        world="tiny",
        folders=tuple(folders),
        out=tmp_path,
        seeds=1,
        limit=9,
        device="cpu",
        cache=tmp_path / "cache",
        plugins=("widths_plugin",),
    )
    updates: list[tuple[str, int, int]] = []
    records = evaluate(todo, jobs=2, progress=Follows(lambda stage, done, total: updates.append((stage, done, total))))
    assert ("shares of the evaluation", 2, 2) in updates
    assert caplog.messages == []
    names = {f.name for f in folders} | set(CONTROLS[:2]) | {f"{c} of topk_l0_4" for c in CONTROLS[2:]}
    assert {r.subject.name for r in records} == names
    assert {r.status for r in records} == {"ok"}
    assert len({r.task.name for r in records}) * len(names) == len(records)
    assert "widths" in {r.task.name for r in records}  # in both processes
    regimes = [r for r in records if r.task.name in REGIMES]
    assert {len(r.seeds) for r in regimes} == {2}
    assert {r.data.datasets for r in regimes} == {2}
    shares = [int(r.digest, 16) % 2 for r in records]
    assert 0 < sum(shares) < len(shares)
    when = {p: p.stat().st_mtime_ns for p in (tmp_path / "records").rglob("*.json")}
    assert len(when) == len(records)
    again = evaluate(todo, jobs=1)
    assert [r.digest for r in again] == [r.digest for r in records]
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "records").rglob("*.json")} == when


def test_random_controls_are_told_by_their_baseline_not_by_their_name():
    def no_sae(ctx, seed):
        raise NotApplicable("never made")

    gaussian = Baseline(name="matched_gaussian", description="a", kind="control", make=no_sae, random=True)
    with registry.only_within():
        registry.add("baselines", registry.Entry("matched_gaussian", "p", "1", "p", lambda: gaussian))
        names = ["random_topk", "matched_random of a", "permuted_decoder of random_init", "best_latents of a random"]
        names += ["matched_gaussian", "gone of random"]
        assert [is_random_control(n) for n in names] == [True, True, False, False, True, False]
        rows = records() + [record("truth", n, {}, {t: [0.1] for t in grade.TRUTHS}, "control") for n in names]
        told = {"random_topk", "matched_random of a", "matched_random of a3", "matched_gaussian"}
        assert set(grade.roles_of(rows).random) == told
