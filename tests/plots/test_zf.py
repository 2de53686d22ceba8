"""The ZF plot: tokens, diagonal and bands against the records and the formula of the bound."""

import dataclasses

import numpy as np
import pytest

from saebench_lite.errors import SaebenchError
from saebench_lite.plots.plot import PlotOptions, plot, prepared
from saebench_lite.plots.zf import limits
from tests.helpers.plot_records import norm_records, plot_records


def test_a_panel_an_sae_with_its_tokens_and_the_diagonal():
    figure = plot([*plot_records(), *norm_records()], "zf")
    titles = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert set(titles) == {"topk_8", "topk_32", "relu_32", "gated_64"}
    diagonal, points = titles["topk_8"].lines
    assert np.array_equal(points.get_xydata(), [[z, z / 2] for z in (1, 2, 3, 4, 5)])
    assert np.array_equal(*np.transpose(diagonal.get_xydata()))
    assert len(titles["topk_8"].collections) == 2
    (legend,) = figure.legends
    said = [t.get_text() for t in legend.get_texts()]
    assert said == ["orthogonal directions: norms are equal", "eps (m - 1) up to 0.25", "eps (m - 1) up to 0.5"]


def test_the_table_has_a_row_a_token_and_subject():
    rows = prepared(norm_records(), "zf", PlotOptions()).rows
    assert len(rows) == 4 * 5
    assert {(r["norm_of_activation"], r["norm_of_code"]) for r in rows if r["subject"] == "relu_32"} == {
        (z, z / 2) for z in (1.0, 2.0, 3.0, 4.0, 5.0)
    }
    assert {r["group"] for r in rows} == {"topk", "relu", "gated"}


def test_limits_are_where_the_bound_holds_with_equality():
    for band in (0.25, 0.5):
        for f, sign in zip(limits(3.0, band), (1, -1), strict=True):
            assert sign * (3.0**2 - f**2) == pytest.approx(band * f**2)


def test_without_norms_one_sentence_says_what_to_run():
    with pytest.raises(SaebenchError, match=r"^no record is of the task afa, [^\n]*--tasks afa$"):
        plot(plot_records(), "zf")
    bare = [dataclasses.replace(r, diagnostics={}) for r in norm_records()]
    with pytest.raises(SaebenchError, match="no record is of the task afa"):
        plot(bare, "zf")
