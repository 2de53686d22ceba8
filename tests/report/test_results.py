"""What Python and a notebook see of records: tables that print themselves, frames, pages, comparisons, checks."""

import dataclasses
import json
import re
import sys
import types
from html.parser import HTMLParser

import numpy as np
import pytest

import saebench_lite as sb
from saebench_lite.errors import SaebenchError
from saebench_lite.records.record import Record
from saebench_lite.records.types import Kind
from saebench_lite.records.verdicts import shipped_verdicts
from saebench_lite.report import compare as comparing
from saebench_lite.report import regression
from saebench_lite.report.compare_text import to_text
from saebench_lite.report.leaderboard import leaderboard_text, tables
from saebench_lite.report.terminal_table import narrow
from tests.helpers.leaderboard_records import record
from tests.helpers.record_factory import made_up

HOSTILE = "<script>alert('&')</script>\x1b[31m"


class Cells(HTMLParser):
    """Texts of the cells of each row, and the tags that occur."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.inside = True
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data


def with_construct(made: Record) -> Record:
    metrics = {n: dataclasses.replace(m, construct="recovery") for n, m in made.task.metrics.items()}
    return dataclasses.replace(made, task=dataclasses.replace(made.task, metrics=metrics))


def scored(name: str, level: float, kind: Kind = "sae", **changes) -> Record:
    noise = 0.01 * np.random.default_rng(len(name)).normal(size=(40, 1))
    return with_construct(made_up(name, {"auroc": level + noise}, seeds=(1,), kind=kind, **changes))


def usual() -> list[Record]:
    return [
        scored("worse", 0.6, meta={"sample_l0": 8.0, "d_sae": 64}),
        scored(HOSTILE, 0.8, meta={"sample_l0": 16.25, "d_sae": 64}),
        scored("random_topk", 0.2, "control"),
        scored("logistic", 0.9, "baseline"),
    ]


def test_html_shows_saes_best_first_and_others_apart_and_escapes_every_text():
    html = sb.leaderboard(usual())._repr_html_()
    read = Cells(html)
    assert read.tags == {"table", "caption", "thead", "tbody", "tr", "th", "td", "small", "br"}
    assert "\x1b" not in html
    head, *rows = read.rows
    assert head == ["", "L0", "rank", "RECOVERYauroc ↑"]
    shown = [row[0] for row in rows]
    assert shown == [
        "SAEs",
        HOSTILE.replace("\x1b", "\\x1b"),
        "worse",
        "controls, which should lose",
        "random_topk",
        "supervised baselines",
        "logistic",
    ]
    assert rows[1][1:3] == ["16.2", "1 tied+−"]
    assert re.fullmatch(r"0\.\d{3} ±0\.\d{3}", rows[1][3])
    assert rows[2][1:3] == ["8.0", "2+−"]
    assert rows[4][1:3] == ["–", "below all"]
    assert "value ± half of its 95 % interval, rank by sparse_probing auroc: 95 % interval among the SAEs" in html


def test_html_of_several_sites_and_of_what_failed():
    other = made_up("b", hook="h2", status="failed", headline=["auroc"])
    html = sb.leaderboard([*usual(), other])._repr_html_()
    assert html.count("<table>") == 2
    assert Cells(html).rows[-1] == ["b", "failed"]


def test_text_is_the_terminals_at_100_columns():
    board = sb.leaderboard(usual())
    (table,) = tables(usual(), shipped_verdicts())
    text = repr(board)
    assert str(board) == text
    assert max(map(len, text.splitlines())) <= 100
    assert text == narrow(table, 100, more=".to_markdown(), .to_html(path)").rstrip("\n")
    assert "--wide" not in text


def test_frame_markdown_latex_and_page_are_those_of_the_command(tmp_path):
    board = sb.leaderboard(usual(), "all")
    rows = json.loads(leaderboard_text(usual(), "json"))
    frame = board.to_frame()
    assert list(frame.columns) == list(rows[0])
    assert frame["subject"].tolist() == [r["subject"] for r in rows]
    assert frame["value"].tolist() == [r["value"] for r in rows]
    assert board.to_markdown() == leaderboard_text(usual(), "md", "all")
    assert board.to_latex() == leaderboard_text(usual(), "latex", "all")
    path = board.to_html(tmp_path / "page.html")
    assert path.read_text() == leaderboard_text(usual(), "html", "all")
    with pytest.raises(SaebenchError, match=r"path '.*' is a folder"):
        board.to_html(tmp_path)


def test_records_or_their_folder(tmp_path, caplog):
    for made in usual():
        made.save(tmp_path)
    board = sb.leaderboard(str(tmp_path))
    assert repr(board) == repr(sb.leaderboard(tmp_path)) == repr(sb.leaderboard(usual()))
    assert {r.digest for r in sb.read(tmp_path)} == {r.digest for r in usual()}
    assert caplog.messages == []
    next(tmp_path.glob("records/*/*/*.json")).write_text("{")
    assert len(sb.read(tmp_path)) == 3
    assert caplog.messages[0].startswith("left out: ")
    for nothing in ([], tmp_path / "none"):
        with pytest.raises(SaebenchError, match="no records"):
            sb.leaderboard(nothing)


def test_plots_are_drawn_by_their_module(monkeypatch):
    asked = []
    module = types.ModuleType("saebench_lite.plots.plot")
    module.__dict__["plot"] = lambda records, kind, **options: asked.append((records, kind, options)) or "figure"
    monkeypatch.setitem(sys.modules, "saebench_lite.plots.plot", module)
    made = usual()
    assert sb.leaderboard(made).plot("pareto", metric="auroc") == "figure"
    assert asked == [(tuple(made), "pareto", {"metric": "auroc"})]


def test_comparison_prints_and_has_a_frame(tmp_path):
    made = usual()
    got = sb.compare("worse", "logistic", made)
    rows, missing = comparing.compare(made, made, "worse", "logistic")
    assert repr(got) == to_text(rows, missing, "worse", "logistic").rstrip("\n")
    assert got._repr_markdown_() == repr(got)
    assert got.to_frame()["difference"].tolist() == [comparing.to_rows(rows)[0]["difference"]]
    for r in made:
        r.save(tmp_path)
    assert repr(sb.compare("worse", "logistic", [made[0]], tmp_path)) == repr(got)
    with pytest.raises(SaebenchError, match="no records of a subject called 'nobody'"):
        sb.compare("worse", "nobody", made)


def test_check_is_that_of_the_command(tmp_path):
    old, new = [scored("mine", 0.8)], [scored("mine", 0.5, fingerprint="other")]
    new[0].save(tmp_path)
    got = sb.check(tmp_path, old)
    assert got.findings == regression.check(new, old).findings
    assert got.status() == 1
    assert repr(got).startswith("1 regression beyond noise in 1 comparisons")
    assert sb.check(old, old).status() == 0
    next(tmp_path.glob("records/*/*/*.json")).write_text("{")
    assert "is not a record" in sb.check(tmp_path, old).problems[0]
    with pytest.raises(SaebenchError, match="holds no records"):
        sb.check(tmp_path / "none", old)


@pytest.mark.parametrize("metrics", ["foo", "al", None, ["auroc"]])
def test_metrics_are_the_headline_or_all(metrics):
    made = usual()
    calls = (
        lambda: sb.leaderboard(made, metrics),
        lambda: sb.Leaderboard(tuple(made), metrics),
        lambda: sb.compare("worse", "logistic", made, metrics=metrics),
        lambda: sb.check(made, made, metrics=metrics),
    )
    for call in calls:
        with pytest.raises(SaebenchError) as caught:
            call()
        assert str(caught.value) == f"metrics {metrics!r} is not known; choose headline or all"


def test_what_is_no_record_is_a_sentence(tmp_path):
    made = usual()
    for given, sentence in (
        (None, "records are a NoneType; give records, or one results folder"),
        (3, "records are an int; give records, or one results folder"),
        ([str(tmp_path)], f"a list of records holds '{tmp_path}'; give records, or one results folder"),
        ([*made, None], "a list of records holds a NoneType; give records, or one results folder"),
    ):
        for call in (sb.leaderboard, lambda records: sb.compare("worse", "logistic", records)):
            with pytest.raises(SaebenchError) as caught:
                call(given)  # pyright: ignore[reportArgumentType] (that is the test)
            assert str(caught.value) == sentence
    with pytest.raises(
        SaebenchError, match=r"^a list of records holds '.*'; .*folder an argument: check\(new, \*folders"
    ):
        sb.check(made, [tmp_path, tmp_path])
    with pytest.raises(SaebenchError, match=r"^records are a NoneType; "):
        sb.check(made, None)  # type: ignore[arg-type]


def test_one_record_is_a_list_of_it():
    one, *_ = usual()
    assert repr(sb.leaderboard(one)) == repr(sb.leaderboard([one]))
    assert sb.check(one, one).findings == sb.check([one], [one]).findings


def test_a_record_is_a_line():
    assert repr(record("a b", value=0.8)) == "<Record 'a b', sparse_probing, ok, auroc 0.8>"
    failed = made_up("x", status="failed")
    assert repr([failed]) == "[<Record 'x', sparse_probing, failed: it broke>]"
    one = made_up("x", {"l0": np.array([[16.0]]), "auroc": np.array([[0.5]])}, seeds=(1,), headline=["auroc", "l0"])
    assert repr(one).endswith("auroc 0.5>")
