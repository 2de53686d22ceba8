"""Numbers of logarithmic axes: some stand there whatever the span, and none lies over another."""

import itertools
from dataclasses import replace

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from saebench_lite.plots.curve import curves
from saebench_lite.plots.curve_data import CurveRow
from saebench_lite.plots.scatter import AxisLabels, scatter
from saebench_lite.plots.scatter_data import ScatterRow
from saebench_lite.plots.style import STYLE

POINT = ScatterRow(
    site="s",
    subject="a",
    kind="sae",
    group="topk",
    d_sae=64,
    x_metric="l0",
    x=8.0,
    x_low=None,
    x_high=None,
    x_interval_over=None,
    y_metric="m",
    y=0.5,
    y_low=None,
    y_high=None,
    y_interval_over=None,
)
AT_K = CurveRow(
    site="s",
    subject="a",
    kind="sae",
    group="topk",
    d_sae=64,
    l0=8.0,
    metric="m",
    k=1,
    value=0.5,
    low=None,
    high=None,
    interval_over=None,
    role="curve",
)


def numbers(figure: Figure) -> list[str]:
    """Numbers below the first axis, which are asserted to lie two points apart at least."""
    figure.draw_without_rendering()
    axes = figure.axes[0]
    low, high = axes.get_xlim()
    labels = [t.label1 for t in axes.xaxis.get_major_ticks() if low <= t.get_loc() <= high]
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.x0)
    assert all(b.x0 - a.x1 > 2 / 72 * figure.dpi for a, b in itertools.pairwise(boxes))
    return [label.get_text() for label in labels]


def over_l0(low: float, decades: float, panels: int) -> list[str]:
    rows = [replace(POINT, subject=f"s{i}", x=low * 10 ** (decades * i / 4), y=i / 4) for i in range(5)]
    return numbers(scatter([("", rows)] * panels, AxisLabels("x", "y", log_x=True)))


@pytest.mark.parametrize(("low", "panels"), [(0.001, 1), (0.7, 2), (3.3, 1)])
@pytest.mark.parametrize("decades", [0.02, 0.3, *range(1, 10)])
def test_spans_of_any_length_have_numbers_apart(decades, low, panels):
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]  # the stubs know no plain dictionary
        shown = over_l0(low, decades, panels)
    assert 2 < len(set(shown)) == len(shown)


@pytest.mark.parametrize(
    ("ks", "shown"),
    [
        ([1, 5], "1 5"),
        ([1, 2, 5, 10, 20, 50], "1 2 5 10 20 50"),
        ([1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 128, 256, 512], "1 2 4 8 16 32 50 128 256 512"),
        ([16], "16"),
    ],
)
def test_numbers_of_latents_without_room_have_a_tick_alone(ks, shown):
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]  # the stubs know no plain dictionary
        figure = curves([("", [replace(AT_K, k=k) for k in ks])], "x", "y")
    assert numbers(figure) == shown.split()
    assert {*figure.axes[0].xaxis.get_minorticklocs()} | {float(k) for k in shown.split()} == {*ks}
