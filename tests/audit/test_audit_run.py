"""An audit as a whole: panel, figures, processes, plugins."""

import numpy as np
import pytest

from saebench_lite import registry
from saebench_lite.api.baseline import Baseline
from saebench_lite.api.registered import is_random_control
from saebench_lite.audit import figures, judge, page, panel
from saebench_lite.audit.evaluate import BASELINES, REGIMES, Evaluation, evaluate, thinned
from saebench_lite.audit.roles import roles_of
from saebench_lite.data.types import Corpus, Data, Labelled
from saebench_lite.errors import NotApplicable
from saebench_lite.worlds.spec import parse
from tests.helpers.audit_records import probing_records, record, records


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
    assert len(folders) == 6 + 3
    assert [f.name.split("@")[1] for f in folders if "@" in f.name] == ["0", "0.05", "0.25"]
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


def test_bf16_is_the_recipes_and_another_training(tmp_path):
    small = {"world": "tiny", "steps": 50, "batch": 32, "architectures": ("topk",), "sparsities": (1.0,)}
    plain, rough = panel.PanelSpec(**small), panel.PanelSpec(**small, bf16=True)
    assert [r.bf16 for _, r in rough.recipes()] == [True]
    panel.build(plain, tmp_path)
    before = (tmp_path / "topk_l0_4" / "sae.safetensors").read_bytes()
    panel.build(rough, tmp_path)
    assert (tmp_path / "topk_l0_4" / "sae.safetensors").read_bytes() != before


def test_levels_that_round_to_one_l0_are_one():
    spec = panel.PanelSpec(world="tiny", steps=50, architectures=("topk",), sparsities=(0.1, 0.2, 2.0))
    (first, low), (second, high) = spec.recipes()
    assert (first, second) == (f"topk_l0_{low.l0}", f"topk_l0_{high.l0}")
    assert low.l0 == 2 < high.l0


def test_figures_are_the_same_bytes_each_time_and_linked(tmp_path):
    pytest.importorskip("matplotlib")
    rows, of = judge.judged(probing_records()), judge.panel_of(probing_records())
    drawn = figures.draw(rows, of, tmp_path / "a")
    assert figures.draw(rows, of, tmp_path / "b") == drawn
    assert [file for _, file in drawn] == ["within.svg", "points.svg"]
    text = page.markdown(rows, of, [], "hand-made", "the command", drawn)
    for caption, file in drawn:
        svg = (tmp_path / "a" / file).read_text()
        assert svg == (tmp_path / "b" / file).read_text()
        assert "<dc:date>" not in svg
        assert f"![{caption}]({file})" in text
    assert "sparse_probing average_precision_max" in (tmp_path / "a" / "within.svg").read_text()


def test_without_matplotlib_one_sentence_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(figures, "installed", lambda module: module != "matplotlib")
    assert figures.draw([], judge.panel_of(probing_records()), tmp_path) == []
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
        limit=3,
        device="cpu",
        cache=tmp_path / "cache",
        plugins=("widths_plugin",),
    )
    updates: list[tuple[str, int, int]] = []
    records = evaluate(todo, jobs=2, progress=Follows(lambda stage, done, total: updates.append((stage, done, total))))
    assert ("shares of the evaluation", 2, 2) in updates
    assert [m for m in caplog.messages if not m.startswith("device: ")] == []
    assert BASELINES == ("oracle", "matched_random")
    names = {f.name for f in folders} | {"oracle", "matched_random of topk_l0_4"}
    assert {r.subject.name for r in records} == names
    assert {r.status for r in records} == {"ok"}
    assert len({r.task.name for r in records}) * len(names) == len(records)
    assert "widths" in {r.task.name for r in records}  # in both processes
    regimes = [r for r in records if r.task.name in REGIMES]
    assert {len(r.seeds) for r in regimes} == {2}
    assert {r.data.datasets for r in regimes} == {1}
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
        rows = records() + [record("truth", n, {}, {t: [0.1] for t in judge.TRUTHS}, "control") for n in names]
        known = roles_of(records()).controls
        assert roles_of(rows).controls == known | {"a": "matched_random of a"}


def test_concepts_are_thinned_evenly():
    texts, both = Corpus("c", ("x", "y")), np.array([True, False])
    labelled = tuple(Labelled(f"c{i}", texts, np.arange(2), both) for i in range(9))
    data = thinned(Data("d", datasets=labelled, concepts=labelled), 3)
    assert [c.name for c in data.datasets] == ["c0", "c4", "c8"]
    assert data.concepts == data.datasets
    assert thinned(Data("d", datasets=labelled, concepts=labelled), 99).datasets == labelled
