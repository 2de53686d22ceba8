"""What is drawn: artists, labels, scales, names as text, files that are what they say."""

import csv
import dataclasses
import io
import itertools
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import colors, rc_context
from matplotlib.collections import QuadMesh
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from saebench_lite.errors import SaebenchError
from saebench_lite.plots.plot import KINDS, PlotKind, PlotOptions, plot, prepared, save_plot
from saebench_lite.plots.style import ARCHITECTURES, MARKERS, OKABE_ITO, looks
from saebench_lite.records.record import Record
from saebench_lite.report.rows import to_csv
from tests.helpers.plot_records import SUBJECTS, fidelity, plot_records, truth_records
from tests.helpers.record_factory import made_up

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "$x^2$ {} a_b 50% <b>&amp;</b> \\alpha $"


def legend(figure: Figure) -> list[str]:
    (found,) = figure.legends
    return [text.get_text() for text in found.get_texts()]


def bars(figure: Figure) -> list[ErrorbarContainer]:
    return [c for c in figure.axes[0].containers if isinstance(c, ErrorbarContainer)]


def points(line: Line2D) -> np.ndarray:
    """Data of a line. [points, 2]"""
    return np.asarray(line.get_xydata(), dtype=float).round(6)


def texts_of(path: Path) -> list[str]:
    """Texts of an SVG file, which must be XML."""
    root = ElementTree.parse(path).getroot()
    assert root.tag == f"{SVG}svg"
    return ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]


def test_a_pareto_plot_has_a_point_an_sae_and_its_intervals():
    figure = plot(plot_records(), "pareto")
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "active latents per token (L0) ←"
    assert axes.get_ylabel().replace("\n", " ") == "explained variance: what explained_variance is\u00a0↑"
    drawn = bars(figure)
    assert len(drawn) == 6  # four SAEs, a control, a dictionary baseline
    saes = {name: (l0, ev) for name, kind, _, l0, ev, _ in SUBJECTS if kind == "sae"}
    at = [tuple(points(c.lines[0])[0]) for c in drawn]
    assert set(saes.values()) <= set(at)
    assert all(c.has_xerr and c.has_yerr for c in drawn)
    front = [points(line) for line in axes.lines if len(points(line)) == 2 and line.get_linestyle() == "-"]
    assert [line.tolist() for line in front] == [[[8.0, 0.6], [32.0, 0.9]]]
    wanted = ["gated", "relu", "topk", "not dominated, by value", "dominated (tests at 3 %)"]
    assert legend(figure) == [*wanted, "matched_random (control)", "pca (dictionary baseline)"]
    assert axes.get_title(loc="left") == "beyond the scale: permuted_decoder, random_topk"


def test_whiskers_are_the_interval():
    rows = prepared(plot_records(), "pareto", PlotOptions()).rows
    figure = plot(plot_records(), "pareto")
    ends = set()
    for container in bars(figure):
        for collection in container.lines[2]:
            (segment,) = collection.get_segments()
            ends.add(tuple(np.round(segment, 6).ravel()))
    for row in rows:
        if row["role"] == "point":
            x, y = round(float(row["x"] or 0), 6), round(float(row["y"] or 0), 6)
            low, high = (round(float(row[f"y_{end}"] or 0), 6) for end in ("low", "high"))
            assert (x, low, x, high) in ends
            assert y > low


def test_a_dominated_sae_is_hollow():
    by_x = {tuple(points(c.lines[0])[0]): c.lines[0] for c in bars(plot(plot_records(), "pareto"))}
    assert by_x[32.2, 0.7].get_markerfacecolor() == by_x[64.0, 0.8].get_markerfacecolor() == "white"
    assert by_x[8.0, 0.6].get_markerfacecolor() == by_x[32.0, 0.9].get_markerfacecolor() == OKABE_ITO["vermilion"]


def test_baselines_without_l0_are_dashed_lines_with_bands_and_labels():
    figure = plot(plot_records(), "pareto", y="sparse_probing.auroc_k1_mean")
    (axes,) = figure.axes
    flat = [line for line in axes.lines if points(line)[:, 0].tolist() == [0, 1]]
    assert {points(line)[0, 1] for line in flat} == {0.85, 0.78}
    assert len({line.get_linestyle() for line in flat}) == 2
    assert len(axes.patches) == 2
    assert {"logistic (baseline)", "diff_in_means (baseline)"} <= set(legend(figure))


def test_a_probing_curve_has_a_line_an_sae_and_a_band_of_controls():
    figure = plot(plot_records(), "probing-curve")
    (axes,) = figure.axes
    assert axes.get_xlabel() == "latents that the probe reads (k)"
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1", "5"]
    lines = {tuple(points(line)[:, 1]) for line in axes.lines if len(points(line)) == 2}
    assert {(round(a, 6), round(a + 0.05, 6)) for _, kind, *_, a in SUBJECTS if kind != "control"} <= lines
    assert {(0.85, 0.85), (0.78, 0.78)} <= lines
    assert len(lines) == 7
    assert len(bars(figure)) == 5 * 2
    labels = legend(figure)
    assert labels[:4] == ["gated_64", "relu_32", "topk_8", "topk_32"]
    assert "random dictionaries (range)" in labels
    assert not any("permuted" in label for label in labels)
    band = np.asarray(axes.collections[-1].get_paths()[0].vertices)[:, 1]
    rows = prepared(plot_records(), "probing-curve", PlotOptions()).rows
    controls = [r for r in rows if r["role"] == "band"]
    assert band.min() == pytest.approx(min(float(r["low"] or 0) for r in controls))
    assert band.max() == pytest.approx(max(float(r["high"] or 0) for r in controls))


def test_saes_of_one_architecture_differ_in_dashes():
    axes = plot(plot_records(), "probing-curve").axes[0]
    topk = [
        line for line in axes.lines if line.get_color() == looks(["topk"])["topk"].colour and line.get_marker() == "s"
    ]
    assert len({line.get_linestyle() for line in topk}) == len(topk) == 2


def test_a_heat_map_is_centred_at_the_best_baseline():
    figure = plot(plot_records(), "heatmap")
    axes = figure.axes[0]
    (mesh,) = [c for c in axes.collections if isinstance(c, QuadMesh)]
    low, high = mesh.get_clim()
    assert high is not None
    assert low == -high < 0
    cells = np.ma.asarray(mesh.get_array())
    assert cells.shape == (12, 10)
    names = [t.get_text() for t in axes.get_xticklabels()]
    assert names[:2] == ["topk_32", "relu_32"]
    assert names[-2:] == ["logistic (b)", "diff_in_means (b)"]
    assert "matched_random\ntopk_32 (c)" in names
    assert np.allclose(cells[:, -2], 0)
    assert len(axes.get_yticklabels()) == 12
    assert figure.axes[1].get_xlabel().endswith("minus that of logistic")


def test_purple_is_better_whatever_the_direction():
    """Lower is better for the loss difference; on a made-up baseline of the same task."""
    records = [r for r in plot_records() if r.task.name == "reconstruction"]
    base = fidelity("base", "baseline", 0.75, 1.0, {})
    figure = plot([*records, base], "heatmap", metric="ce_delta")
    (mesh,) = [c for c in figure.axes[0].collections if isinstance(c, QuadMesh)]
    better, worse = mesh.cmap(0.0), mesh.cmap(1.0)  # least loss first
    assert colors.to_rgb(better)[2] > colors.to_rgb(better)[1]  # purple
    assert colors.to_rgb(worse)[0] > colors.to_rgb(worse)[2]  # orange


def test_a_heat_map_of_many_units_keeps_every_name():
    table = {"auroc": np.random.default_rng(0).random((113, 1))}
    axes = plot([made_up(n, table, seeds=(42,)) for n in "ab"], "heatmap").axes[0]
    assert len({t.get_text() for t in axes.get_yticklabels()}) == 113
    figure = axes.figure
    boxes = sorted((t.get_window_extent() for t in axes.get_yticklabels()), key=lambda b: b.y0)
    overlap = max(low.y1 - high.y0 for low, high in itertools.pairwise(boxes))
    assert overlap < 0.3 * boxes[0].height, "names lie over each other"
    assert isinstance(figure, Figure)


def test_training_curves_have_a_line_an_sae_in_three_panels():
    figure = plot(plot_records(), "training")
    assert [axes.get_xlabel() for axes in figure.axes] == ["training step"] * 3
    drawn = [{tuple(map(tuple, points(line).tolist())) for line in axes.lines} for axes in figure.axes]
    assert drawn[0] == {((0, -1), (5, 0.5), (9, 0.6)), ((5, 0.9),), ((0, 0.1), (5, 0.7))}  # one value is unknown
    assert drawn[1] == {((0, 8), (5, 8), (9, 8)), ((0, 32), (5, 32)), ((0, 64), (5, 32.2))}
    assert drawn[2] == {((0, 0), (5, 0), (9, 0.1)), ((0, 0), (5, 0.25)), ((0, 0), (5, 0.5))}
    assert [axes.get_ylim()[0] for axes in figure.axes[1:]] == [0, 0]
    assert legend(figure) == ["relu_32", "topk_8", "topk_32"]
    assert figure.axes[0].get_title(loc="left") == "SAEs without a training curve: 1, left out"
    colours = {line.get_color() for line in figure.axes[0].lines}
    assert colours == {looks(["topk", "relu"])[a].colour for a in ("topk", "relu")}


def test_truth_is_on_the_horizontal_axis():
    figure = plot(truth_records(), "truth", y="sparse_probing.auroc_k1_mean", far=True)
    (axes,) = figure.axes
    assert axes.get_xscale() == "linear"
    assert axes.get_xlabel() == "feature ap: what feature_ap is\u00a0→"
    assert len(bars(figure)) == 7  # all but the twin
    with pytest.raises(SaebenchError, match=r"^no record is of the task truth, [^\n]*--model world:NAME$"):
        plot(plot_records(), "truth")
    alone = [r for r in truth_records() if r.task.name == "truth"]
    with pytest.raises(SaebenchError, match=r"^no task but truth is scored in "):
        plot(alone, "truth")


@pytest.mark.parametrize("kind", KINDS)
def test_several_sites_have_a_panel_each(kind: PlotKind):
    records = [*truth_records("h"), *truth_records("other")]
    figure = plot(records, kind)
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert {axes.get_title(loc="left").split("\n")[0] for axes in panels} == {"h", "other"}
    assert len({r["site"] for r in prepared(records, kind, PlotOptions()).rows}) == 2
    assert len({r["site"] for r in prepared(records, kind, PlotOptions(site="other")).rows}) == 1


@pytest.mark.parametrize(
    ("kind", "suffix"), [*((kind, ".svg") for kind in KINDS), ("pareto", ".pdf"), ("pareto", ".png")]
)
def test_files(kind: PlotKind, suffix: str, tmp_path: Path):
    """The CSV is the table; the same records give the same bytes."""
    records = truth_records()
    out, table = save_plot(records, kind, tmp_path / f"a{suffix}", PlotOptions())
    again, _ = save_plot(records, kind, tmp_path / f"b{suffix}", PlotOptions())
    assert table == tmp_path / "a.csv"
    rows = prepared(records, kind, PlotOptions()).rows
    assert table.read_text() == to_csv(rows)
    read = list(csv.DictReader(io.StringIO(table.read_text())))
    assert read == [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows]
    assert out.read_bytes() == again.read_bytes()
    assert out.read_bytes().startswith({".svg": b"<?xml", ".pdf": b"%PDF", ".png": b"\x89PNG"}[suffix])


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_names_are_text(kind: PlotKind, tmp_path: Path):
    """Letter by letter in the SVG, whatever the caller's own settings say when it is drawn."""
    records = [hostile(r) for r in truth_records(HOSTILE.format("hook"))]
    records += [hostile(r) for r in truth_records("other")]
    out, _ = save_plot(records, kind, tmp_path / "a.svg", PlotOptions())
    text = " ".join(texts_of(out))  # long names are broken at blanks
    if kind in ("pareto", "truth"):
        assert "_topk $k$ <i>" in text
    else:
        assert HOSTILE.format("topk_8") in text
    assert HOSTILE.format("hook") in text
    with rc_context({"text.parse_math": True, "svg.fonttype": "none"}):
        plot(records, kind).savefig(tmp_path / "b.svg")
    assert HOSTILE.format("hook") in " ".join(texts_of(tmp_path / "b.svg"))


def hostile(record: Record) -> Record:
    """The record with names of subjects and architectures that are markup."""
    meta = record.subject.meta
    if record.subject.kind == "sae" and meta.get("architecture") == "topk":
        meta = meta | {"architecture": "_topk $k$ <i>"}
    subject = dataclasses.replace(record.subject, name=HOSTILE.format(record.subject.name), meta=meta)
    return dataclasses.replace(record, subject=subject)


def test_known_architectures_look_alike_in_every_figure_and_others_differ():
    alone, beside = looks(["gated"]), looks(["gated", "topk", "zebra", "aardvark"])
    assert alone["gated"] == beside["gated"]
    many = looks([*ARCHITECTURES, *(f"other {i}" for i in range(80))])
    assert len(set(many.values())) == len(many)
    assert len(set(MARKERS)) == len(MARKERS)


def test_okabe_ito_colours():
    """As Color Universal Design (2008) lists them, in 8-bit RGB."""
    listed = {
        "orange": (230, 159, 0),
        "sky blue": (86, 180, 233),
        "bluish green": (0, 158, 115),
        "yellow": (240, 228, 66),
    }
    listed |= {"blue": (0, 114, 178), "vermilion": (213, 94, 0), "reddish purple": (204, 121, 167)}
    assert {name: tuple(round(255 * c) for c in colors.to_rgb(code)) for name, code in OKABE_ITO.items()} == listed
