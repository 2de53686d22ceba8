"""The page's table in a headless Chromium: what a reader sorts, filters, reloads and saves."""

import csv
import io
import json
import re

import pytest

from saebench_lite.report.leaderboard import leaderboard_text
from tests.helpers.browser import found
from tests.helpers.page_records import page_records
from tests.report.in_a_browser.seen import AUROC, rows

pytestmark = pytest.mark.skipif(found() is None, reason="needs Chromium")


def test_the_table_is_that_of_the_markdown(at):
    browser = at("preset=recovery")
    text = leaderboard_text(page_records(), "md").split("### m · h ")[1].split("\n### ")[0]
    lines = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")]
    lines = [line for line in lines[1:] if line[0].split(" (")[0] in rows(browser)][: len(rows(browser))]
    assert rows(browser) == [line[0].split(" (")[0] for line in lines]
    got = browser.evaluate("[...document.querySelectorAll('.board tbody tr')].map(r => r.lastChild.textContent)")
    assert got == [line[-2] for line in lines]


def test_a_column_sorts_both_ways_and_says_so(at):
    browser = at(f"preset=recovery&sort={AUROC}&down=1")
    for order in ("descending", "ascending", "descending"):
        values = [float(v.split(" ")[0]) for v in browser.texts(".board tbody td:last-child")]
        assert values == sorted(values, reverse=order == "descending")
        heads = browser.evaluate("[...document.querySelectorAll('.board [aria-sort]')].map(e => e.ariaSort)")
        assert isinstance(heads, list)
        assert heads[-1] == order
        assert set(heads[:-1]) == {"none"}
        browser.click(f'[data-focus="sort-{AUROC}"]')


def test_the_best_stands_first_whatever_the_direction_and_what_has_no_score_last(at):
    browser = at("preset=fidelity&sort=name")
    for metric in ("ce_delta", "explained_variance"):
        browser.click(f'[data-focus="sort-reconstruction@1/{metric}"]')
        assert rows(browser)[0] == "topk_a"
        assert rows(browser)[-1] == "broken"


def test_search_kinds_and_filters(at):
    browser = at("preset=recovery")
    everyone = rows(browser)
    browser.fill('[data-typed="search"]', "topk sae")
    assert set(rows(browser)) == {"topk_a", "topk_b"}  # each word in the name, kind or architecture
    browser.fill('[data-typed="search"]', "TOPK_A")
    assert rows(browser) == ["topk_a"]
    browser.fill('[data-typed="search"]', "no such name")
    assert rows(browser) == []
    assert "No subject" in browser.texts(".empty")[0]
    browser.fill('[data-typed="search"]', "")
    browser.click('[data-focus="kind-control"]')
    assert set(rows(browser)) == set(everyone) - {"random_topk"}
    browser.click('[data-focus="architecture-relu"]')
    assert set(rows(browser)) == {"relu_a", "relu_b", "pca", "logistic"}
    browser.click('[data-focus="width-64"]')
    assert set(rows(browser)) == {"relu_b", "pca", "logistic"}


def test_a_range_of_l0_keeps_the_references(at):
    browser = at("preset=recovery")
    browser.fill('[data-typed="l0min"]', "12")
    browser.fill('[data-typed="l0max"]', "17")
    assert set(rows(browser)) == {"topk_b", "relu_a", "random_topk", "pca", "logistic"}


def test_complete_rows_alone(at):
    browser = at("preset=fidelity")
    assert "broken" in rows(browser)
    browser.click('[data-focus="complete"]')
    assert "broken" not in rows(browser)
    assert len(rows(browser)) == 6


def test_a_reload_shows_the_same(at, page: str):
    browser = at("preset=fidelity")
    browser.click('[data-focus="sort-l0"]')
    browser.click('[data-focus="kind-dictionary baseline"]')
    browser.fill('[data-typed="search"]', "topk")
    browser.click('[data-focus="complete"]')
    before = (rows(browser), browser.evaluate("location.hash"), browser.texts('[aria-pressed="true"]'))
    assert before[0]
    browser.open(page + str(before[1]))
    assert (rows(browser), browser.evaluate("location.hash"), browser.texts('[aria-pressed="true"]')) == before
    assert browser.evaluate("document.querySelector('[data-typed=search]').value") == "topk"


def test_an_address_that_knows_nothing_of_the_data_shows_the_usual(at):
    usual = rows(at())
    assert (
        rows(at("site=zz&view=none&preset=x&sort=y&columns=a|b&x=q&l0min=abc&record=00&subject=nobody&%zz=1")) == usual
    )


def test_calibrated_scores_take_the_place_of_raw_ones(at):
    browser = at("preset=recovery")
    raw = browser.texts(".board tbody td:last-child")
    browser.click('[data-focus="scale-calibrated"]')
    scaled = browser.texts(".board tbody td:last-child")
    assert raw != scaled
    top = browser.evaluate(
        "[...document.querySelectorAll('.board tbody tr')].find(r => r.textContent.includes('logistic'))"
        ".lastChild.textContent"
    )
    assert str(top).startswith("1.000")
    assert "0 is random_topk, 1 is logistic" in browser.evaluate("document.querySelector('thead .tags').outerHTML")


def test_references_are_set_apart_and_verdicts_tell_their_reason(at):
    browser = at("preset=recovery")
    marked = browser.texts(".board tr.reference .name")
    assert set(marked) == {"random_topk", "pca", "logistic"}
    assert browser.texts(".board tr.reference .kind") != []
    browser.evaluate("document.querySelector('.board .tag').focus()")
    assert "no audit has seen" in browser.texts("#tip")[0]
    assert browser.evaluate("document.getElementById('tip').hidden") is False
    browser.press("Escape")
    assert browser.evaluate("document.getElementById('tip').hidden") is True


def test_csv_and_json_hold_the_numbers_of_the_records(at):
    browser = at("preset=recovery")
    browser.click('[data-focus="save-csv"]')
    got = list(csv.DictReader(io.StringIO(browser.saved("leaderboard-table.csv"))))
    browser.click('[data-focus="save-json"]')
    same = json.loads(browser.saved("leaderboard-table.json"))
    assert [row["subject"] for row in got] == rows(browser) == [row["subject"] for row in same]
    scores = {
        (r.subject.name, r.site.hook): r.scores.get("auroc_k1")
        for r in page_records()
        if r.task.name == "sparse_probing"
    }
    for text, row in zip(got, same, strict=True):
        score = scores[row["subject"], "h"]
        assert score is not None
        assert float(text["sparse_probing auroc_k1"]) == row["sparse_probing auroc_k1"] == score.value
        assert float(text["sparse_probing auroc_k1 low"]) == row["sparse_probing auroc_k1 low"] == score.low
    assert {row["d_sae"] for row in got if row["subject"] == "logistic"} == {""}


def test_latex_is_a_table_of_booktabs(at):
    browser = at("preset=recovery")
    browser.click('[data-focus="save-tex"]')
    text = browser.saved("leaderboard-table.tex")
    body = text.split("\\midrule\n")[1].split("\\bottomrule")[0].strip().split("\n")
    columns = re.findall(r"tabular}\{(l r*|lr*)\}", text)[0].replace(" ", "")
    assert len(body) == len(rows(browser))
    assert {len(re.split(r"(?<!\\)&", line)) for line in body} == {len(columns)}
    assert "topk\\_a" in text
    assert not re.search(r"(?<!\\)_", "\n".join(body))
