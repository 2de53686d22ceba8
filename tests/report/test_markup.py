"""Foreign names never become markup, commands or lines of their own, in any format."""

import csv
import io
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from saebench_lite.records.types import Kind
from saebench_lite.report.compare import compare
from saebench_lite.report.compare_text import to_terminal, to_text
from saebench_lite.report.findings import Check
from saebench_lite.report.leaderboard import leaderboard_text
from saebench_lite.report.markup import code_span, csv_cell, markdown, one_line, visible
from saebench_lite.report.regression import check
from saebench_lite.report.regression_ci import to_benchmark, to_junit
from saebench_lite.report.regression_text import to_markdown
from saebench_lite.report.regression_text import to_text as check_to_text
from tests.helpers.record_factory import made_up

NAMES = {
    "escape": "a\x1b[31mred",
    "title": "a\x1b]0;owned\x07",
    "c1": "a\x9b2J",
    "backspace": "good\x08\x08bad",
    "return": "a\rb",
    "line": "a\nb | c |",
    "separator": "a\u2028b",
    "turned": "a\u202egpj.exe",
    "isolate": "a\u2066b",
    "zero width": "a\u200bb",
    "surrogate": "a\udcffb",
    "null": "a\x00b",
    "pipe": "a|b",
    "html": "<img src=x onerror=alert(1)>",
    "comment": "<!-- a",
    "entity": "&lt;b&gt;",
    "link": "[a](javascript:alert(1))",
    "code": "`a`",
    "star": "**a**",
    "struck": "~~a~~",
    "backslash": "a\\",
    "input": "\\input{/etc/passwd}",
    "percent": "100% $x_1$ #1 {a} ~ ^",
    "formula": "=1+1",
    "plus": "+1",
    "minus": "-1+1",
    "at": "@SUM(A1)",
    "tab": "\t=1+1",
}
VALUES = {"auroc": np.linspace(0.5, 0.9, 6)[:, None], "l0": np.linspace(5, 9, 6)[:, None]}
DANGEROUS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def records(name: str):
    bad = made_up(name, status="failed", headline=["auroc"], task="concept_detection")
    named: list[tuple[str, Kind]] = [(name, "sae"), ("plain", "sae"), ("random", "control")]
    good = [made_up(n, VALUES, kind=k, seeds=(42,)) for n, k in named]
    return [*good, bad]


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_one_name_is_one_line_and_no_control(name):
    for text in (visible(name), one_line(name), markdown(name), csv_cell(name), code_span(name)):
        assert not DANGEROUS.search(text.replace("\n", ""))
        text.encode()
    for text in (one_line(name), markdown(name), csv_cell(name), code_span(name)):
        assert len(text.splitlines()) == 1
    assert csv_cell(name)[0] not in "=+-@\t"
    assert not set("`|") & set(code_span(name))
    shown = markdown(name)
    assert not re.search(r"<[A-Za-z/!?]|(?<!\\)[|`*]|(?<!\\)\]\(", shown)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_tables_keep_their_rows_whatever_an_sae_is_called(name):
    plain, odd = (leaderboard_text(records(n), "md") for n in ("name", name))
    assert not DANGEROUS.search(odd.replace("\n", ""))
    assert len(odd.splitlines()) == len(plain.splitlines())
    columns = [len(re.findall(r"(?<!\\)\|", line)) for line in odd.splitlines() if line.startswith("|")]
    assert columns == [len(re.findall(r"(?<!\\)\|", line)) for line in plain.splitlines() if line.startswith("|")]
    assert not re.search(r"<[A-Za-z/!?]", odd)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_latex_has_no_command_of_a_name(name):
    text = leaderboard_text(records(name), "latex")
    assert not DANGEROUS.search(text.replace("\n", ""))
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    allowed = "begin|end|toprule|midrule|bottomrule|textbackslash|textascii|ensuremath|textless|textgreater"
    allowed += r"|uparrow|downarrow|to\}"
    assert not re.search(rf"\\(?!{allowed})[A-Za-z]", body)
    assert not re.search(r"^\s*[\[*]", body, re.M)  # an argument of the line break before it
    assert not re.search(r"(?<!\\)[_%#$]", re.sub(r"\\ensuremath\{.*?\}|\{\\textbackslash\}", "", body))


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_csv_cells_are_no_formulas_and_json_keeps_the_name(name):
    rows = list(csv.DictReader(io.StringIO(leaderboard_text(records(name), "csv"))))
    assert csv_cell(name) in {row["subject"] for row in rows}
    assert all(cell[:1] not in ("=", "+", "@", "\t") for row in rows for cell in row.values())
    if name != NAMES["surrogate"]:
        assert name in {row["subject"] for row in json.loads(leaderboard_text(records(name), "json"))}


def test_ordinary_names_stay_as_they_are():
    for name in (
        "topk_1024_l0_8 (c)",
        "matched_random of a-b.c",
        "0.812 [0.7, 0.9]",
        "norm<=10xmedian",
        "p <0.001",
        "é中",
    ):
        assert markdown(name) == one_line(name) == csv_cell(name) == visible(name) == name


def test_a_comparison_keeps_its_columns():
    a, b = (made_up(n, VALUES, seeds=(42,)) for n in ("a|b\n", "plain"))
    rows, missing = compare([a, b], [a, b], "a|b\n", "plain", "all")
    lines = [line for line in to_text(rows, missing, "a|b\n", "plain").splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_comparison_on_a_terminal_shows_names_as_text(name):
    a, b = (made_up(n, VALUES, seeds=(42,)) for n in (name, "plain"))
    texts = [to_terminal(*compare([a, b], [a, b], n, "plain", "all"), n, "plain") for n in (name, "plain")]
    assert not DANGEROUS.search(texts[0].replace("\n", ""))
    assert len(texts[0].splitlines()) == len(texts[1].splitlines())


def judged(name: str) -> Check:
    """A check with a loss, a changed recipe, a missing SAE and a failed task, all of an SAE of that name."""
    shifts = [*np.linspace(0, 0.02, 3), -0.4]
    *old, new = (
        made_up(name, {"auroc": np.linspace(0.5, 0.9, 6)[:, None] + s}, seeds=(), fingerprint=f"{i} {name!a}")
        for i, s in enumerate(shifts)
    )
    failed = made_up(name, status="failed", headline=["auroc"], task="concept_detection")
    lost = made_up(f"{name} lost", VALUES, seeds=())
    return check([new, failed], *([r, lost] for r in old))


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_every_report_of_the_gate_shows_names_as_text(name):
    plain, odd = judged("plain"), judged(name)
    assert (len(odd.regressions), len(odd.changed), len(odd.problems)) == (1, 1, 2)
    for every in (False, True):
        text = check_to_text(odd, every)
        assert not DANGEROUS.search(text.replace("\n", ""))
        assert len(text.splitlines()) == len(check_to_text(plain, every).splitlines())
        assert not re.search("details|summary", text)
    page = to_markdown(odd)
    assert not DANGEROUS.search(page.replace("\n", ""))
    assert len(page.splitlines()) == len(to_markdown(plain).splitlines())
    assert set(re.findall(r"<[A-Za-z/!?]+", page)) == {"<details", "<summary", "</summary", "</details"}
    columns = {len(re.findall(r"(?<!\\)\|", line)) for line in page.splitlines() if line.startswith("|")}
    assert columns == {10}
    suite = ElementTree.fromstring(to_junit(odd))[0]
    assert len(suite.findall("testcase")) == int(suite.get("tests") or 0) == 4
    assert not DANGEROUS.search("".join(a for case in suite.iter() for a in case.attrib.values()))
    rows = json.loads(to_benchmark(odd, "bigger"))
    assert [row["name"] for row in rows] == [code_span(f"{name} / sparse_probing auroc")]
