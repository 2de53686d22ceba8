"""Options of plots: what does not fit gets one sentence, and records may come from a folder."""

import sys
from pathlib import Path
from typing import get_args

import pytest
from matplotlib.figure import Figure

import saebench_lite
from saebench_lite.errors import SaebenchError
from saebench_lite.plots.plot import KINDS, TAKES, PlotKind, PlotOptions, plot, save_plot
from tests.helpers.plot_records import plot_records


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        ("pareto", {"y": "ce_dleta"}, "no record scores metric 'ce_dleta'; did you mean reconstruction.ce_delta"),
        ("pareto", {"pooling": "max"}, "pareto takes no pooling (max); it takes y, x, site, far"),
        ("pareto", {"width": 3}, "plot has no option 'width'; choose from y, x, metric, pooling, site, far"),
        ("heatmap", {"site": "nowhere"}, "no site has 'nowhere' in its title; choose from m"),
        ("probing-curve", {"pooling": "last"}, "curves there are: auroc max, auroc mean"),
        ("scatter", {}, "kind 'scatter' is not known; choose from pareto, probing-curve, heatmap, training, truth, zf"),
    ],
)
def test_wrong_options_get_one_sentence(kind: PlotKind, options: dict[str, str], sentence: str):
    with pytest.raises(SaebenchError) as error:
        plot(plot_records(), kind, **options)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_records_without_what_a_figure_shows_get_one_sentence():
    probing = [r for r in plot_records() if r.task.name == "sparse_probing"]
    with pytest.raises(SaebenchError, match=r"^no record scores a metric of fidelity, [^\n]*$"):
        plot(probing, "pareto")
    with pytest.raises(
        SaebenchError, match=r"^no subject with a score of auroc_k1_mean has a value of L0; run [^\n]*$"
    ):
        plot(probing, "pareto", y="auroc_k1_mean")
    fidelity = [r for r in plot_records() if r.task.name == "reconstruction"]
    with pytest.raises(SaebenchError, match=r"curves there are: none: run the task sparse_probing$"):
        plot(fidelity, "probing-curve")
    curveless = [r for r in fidelity if "training_curve" not in r.subject.meta]
    with pytest.raises(SaebenchError, match=r"^no SAE's metadata hold a training curve; saebench-lite train [^\n]*$"):
        plot(curveless, "training")


def test_a_file_of_another_kind_is_refused(tmp_path: Path):
    with pytest.raises(SaebenchError, match=r"^out '[^\n]*a.jpg' must end in .svg, .pdf, .png; [^\n]*$"):
        save_plot(plot_records(), "pareto", tmp_path / "a.jpg", PlotOptions())
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        SaebenchError, match=r"^a plot needs matplotlib, which is not installed; [^\n]* 'saebench-lite\[plots\]'$"
    ):
        plot(plot_records(), "pareto")


def test_from_a_folder(tmp_path: Path):
    for record in plot_records():
        record.save(tmp_path)
    assert isinstance(saebench_lite.plot(tmp_path, "pareto"), Figure)
    assert isinstance(saebench_lite.plot(str(tmp_path), "heatmap"), Figure)
    with pytest.raises(SaebenchError, match=r"holds no records \(there is no such folder\); give the folder"):
        plot(tmp_path / "empty", "pareto")


def test_every_kind_and_option_is_known_everywhere():
    assert set(TAKES) == set(KINDS) == set(get_args(PlotKind))
    assert {name for names in TAKES.values() for name in names} == set(PlotOptions.__dataclass_fields__)
