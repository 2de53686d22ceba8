"""Names of any length: every label ends within the figure, and none lies over another."""

import itertools
import warnings
from functools import cache

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from saebench_lite.plots.heat import LETTERS
from saebench_lite.plots.lines import width_of, wrapped
from saebench_lite.plots.plot import KINDS, PlotKind, PlotOptions, plot, prepared
from saebench_lite.records.record import Record
from saebench_lite.records.types import Kind
from tests.helpers.plot_records import BETTER, CURVES, declared, fidelity, probing, values
from tests.helpers.record_factory import made_up

LONG = "a_sparse_autoencoder_of_one_layer_with_4096_latents_l0_32_{:02}"
"60 letters with a number of two."
SLACK = 1.0
"Pixels at 100 dots an inch by which boxes of letters may be off."


@cache
def named(pattern: str, saes: int) -> list[Record]:
    """Records of SAEs, two controls of each of the first four, and baselines, all named by one pattern."""
    names = [pattern.format(i) for i in range(saes)]
    made = [f"{control} of {name}" for name in names[:4] for control in ("matched_random", "permuted_decoder")]
    kinds: dict[str, Kind] = dict.fromkeys(names, "sae")
    kinds |= dict.fromkeys(made, "control")
    kinds |= dict.fromkeys((f"{name}d" for name in names[: saes // 4]), "dictionary baseline")
    out = []
    for i, (name, kind) in enumerate(kinds.items()):
        meta: dict[str, object] = {"d_sae": 64}
        if kind == "sae":
            meta["training_curve"] = CURVES["topk_8"]
        high = -9.0 if i % 2 and kind == "control" else 0.5 + i / 200
        out += [probing(name, kind, 0.6 + i / 400, meta), fidelity(name, kind, high, 8.0 + 2 * i, meta)]
        if kind == "sae" and i < 8:
            shown: dict[str, object] = {"norms_of_activations": [1.0, 2.0], "norms_of_codes": [0.5, 1.5]}
            out.append(other(name, "afa", "alignment", 0.5, meta, shown))
        if kind != "dictionary baseline":
            out.append(other(name, "truth", "feature_ap", 0.5 + i / 200, meta, {}, kind))
    return [*out, *(probing(f"{pattern.format(i)}b", "baseline", 0.8 + i / 50, {}) for i in range(2))]


def other(
    name: str,
    task: str,
    metric: str,
    mean: float,
    meta: dict[str, object],
    diagnostics: dict[str, object],
    kind: Kind = "sae",
) -> Record:
    table = {metric: values(mean, 4)}
    made = made_up(name, table, task=task, kind=kind, meta=meta, metrics=BETTER, seeds=(), diagnostics=diagnostics)
    return declared(made)


def outside(figure: Figure) -> list[str]:
    """Labels that do not end within the figure."""
    within = figure.bbox.padded(SLACK)
    boxes = [(t.get_text(), t.get_window_extent()) for t in drawn(figure)]
    return [name for name, b in boxes if not all(within.contains(x, y) for x, y in ((b.x0, b.y0), (b.x1, b.y1)))]


def over_each_other(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of labels that share more than a seam."""
    boxes = [(t.get_text(), t.get_window_extent()) for t in drawn(figure)]
    out = []
    for (a, first), (b, second) in itertools.combinations(boxes, 2):
        shared = Bbox.intersection(first, second)
        if shared is not None and min(shared.width, shared.height) > SLACK:
            out.append((a, b))
    return out


def drawn(figure: Figure) -> list[Text]:
    """Labels that are drawn: those of ticks beyond the ends of an axis are not."""
    hidden = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        ticks = (*axis.get_major_ticks(), *axis.get_minor_ticks())
        hidden |= {id(label) for t in ticks if not low <= t.get_loc() <= high for label in (t.label1, t.label2)}
    found = [t for t in figure.findobj(Text) if isinstance(t, Text)]
    return [t for t in found if t.get_visible() and t.get_text().strip() and id(t) not in hidden]


@pytest.mark.parametrize(("pattern", "saes"), [("s{:02}", 40), (LONG, 4), (LONG, 40)])
@pytest.mark.parametrize("kind", KINDS)
def test_no_label_is_cut_or_lies_over_another(kind: PlotKind, pattern: str, saes: int):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a layout that it gave up
        figure = plot(named(pattern, saes), kind)
    assert len(drawn(figure)) > 4
    assert outside(figure) == []
    assert over_each_other(figure) == []


def test_lines_of_one_label_do_not_lie_over_each_other():
    axes = plot(named(LONG, 4), "heatmap").axes[0]
    inch = axes.figure.dpi
    lines = {t.get_text().count("\n") + 1: t.get_window_extent().width / inch for t in axes.get_xticklabels()}
    assert set(lines) == {1, 2}
    assert all(width >= 1.1 * n * LETTERS / 72 for n, width in lines.items())  # lines a tenth higher than letters


@pytest.mark.parametrize("kind", ["heatmap", "probing-curve", "pareto"])
def test_no_letter_of_a_name_is_left_out(kind: PlotKind):
    records = named(LONG, 4)
    saes = {LONG.format(i) for i in range(4)}
    assert saes <= {str(r["subject"]) for r in prepared(records, kind, PlotOptions()).rows}
    shown = {t.get_text().replace("\n", "") for t in drawn(plot(records, kind))}
    assert saes <= shown


@pytest.mark.parametrize("text", ["one two  three", "a" * 90, LONG, "x_" * 60, "a" * 30 + " b\nc $d$ _", "", "W"])
@pytest.mark.parametrize("width", [0.01, 0.4, 1.0, 9.0])
def test_lines_are_no_longer_than_asked_and_hold_every_letter(text: str, width: float):
    lines = wrapped(text, width, 6)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(width_of(line, 6) <= width or len(line) == 1 for line in lines)
    assert lines == text.split("\n") or width < 9
