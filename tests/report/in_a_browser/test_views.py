"""The page's plots and comparisons in a headless Chromium."""

import csv
import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from saebench_lite.records.record import read_all
from saebench_lite.report.leaderboard import leaderboard_text
from tests.conftest import ROOT
from tests.helpers.browser import Browser, found
from tests.helpers.page_records import BETTER, declared
from tests.helpers.record_factory import made_up
from tests.report.in_a_browser.seen import AUROC, VIEWS

pytestmark = pytest.mark.skipif(found() is None, reason="needs Chromium")


@pytest.mark.parametrize("view", VIEWS[1:])
def test_each_plot_saves_as_svg_and_its_numbers_as_csv(at, view: str):
    browser = at(f"view={view}&preset=fidelity")
    browser.click('[data-focus="save-svg"]')
    svg = ET.fromstring(browser.saved(f"leaderboard-{view}.svg"))
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    assert not [e for e in svg.iter() if "class" in e.attrib]
    assert len({e.get("fill") for e in svg.iter()}) > 1
    browser.click('[data-focus="save-csv"]')
    table = list(csv.reader(io.StringIO(browser.saved(f"leaderboard-{view}.csv"))))
    assert len(table) > 2
    assert len({len(row) for row in table}) == 1


def test_the_scatter_tells_the_front_and_draws_what_has_no_l0_as_a_line(at):
    browser = at("view=scatter&preset=fidelity")
    assert "Too far from the SAEs" in browser.evaluate("document.querySelector('main').textContent")
    drawn = len(browser.texts(".hit"))
    browser.click('[data-focus="far"]')
    assert len(browser.texts(".hit")) == 6 > drawn
    tips = browser.evaluate("[...document.querySelectorAll('.pale')].map(e => e.closest('.hit')?.dataset.tip)")
    assert isinstance(tips, list)
    assert sorted(t.split(" (dominated)")[0] for t in tips if t) == ["relu_a", "relu_b", "topk_b"]
    browser = at("view=scatter&preset=recovery&far=1")
    assert browser.texts(".reference-line + text.label") == ["logistic"]
    assert browser.evaluate("document.querySelectorAll('.band').length") == 1
    browser.click('[data-focus="xlog"]')
    assert "log" not in browser.texts(".plot text.name")[1]


def test_densities_are_bars_of_shares(at):
    browser = at("view=density")
    heights = browser.evaluate(
        "[...document.querySelectorAll('.plot .bar')].map(e => Number(e.getAttribute('height')))"
    )
    assert isinstance(heights, list)
    assert sorted({round(h) for h in heights}) == [
        0,
        42,
        68,
    ]  # of 68: 5 and 8 of 16 latents, as the highest bar is whole
    assert {*browser.texts(".plot .tick")} >= {"3 silent"}
    tip = browser.evaluate("document.querySelector('.hit').dataset.tip")
    assert tip == "topk_a: 3 silent, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 8, 0 latents in the bins"


def test_a_published_folder_is_drawn_in_every_view_without_a_complaint(browser: Browser, tmp_path: Path):
    (tmp_path / "page.html").write_text(leaderboard_text(read_all(ROOT / "results" / "pico")[0], "html"))
    browser.errors.clear()
    for view in VIEWS:
        browser.open((tmp_path / "page.html").as_uri() + f"#view={view}")
        assert browser.evaluate("document.querySelectorAll('main svg, main table').length")
    assert browser.errors == []


def test_units_are_subjects_by_data_sets(at):
    browser = at(f"view=units&unit_metric={AUROC}")
    assert browser.evaluate("document.querySelectorAll('.plot rect').length") == 7 * 32
    tip = browser.evaluate("document.querySelector('.plot rect').dataset.tip")
    assert re.fullmatch(r"logistic, u\d+: 0\.\d+", str(tip))


def test_a_comparison_flips_with_its_subjects(at):
    def differences(browser: Browser) -> list[float]:
        return [float(t.split(" ")[0]) for t in browser.texts(".pairs tbody td:nth-child(4)")]

    browser = at("view=compare&a=topk_a&b=relu_b")
    forth, told = differences(browser), browser.texts(".pairs tbody td:nth-child(6)")
    browser.click('[data-focus="swap"]')
    assert differences(browser) == [-d for d in forth]
    assert "A is better" in told
    assert [t.replace("A is", "?").replace("B is", "A is").replace("?", "B is") for t in told] == browser.texts(
        ".pairs tbody td:nth-child(6)"
    )
    browser = at("view=compare&a=topk_a&b=logistic")
    assert "saebench-lite compare 'topk_a' 'logistic' FOLDER" in browser.texts("main code")


@pytest.mark.parametrize(("units", "told"), [(1, "too few units"), (11, "too few units"), (12, "A is better")])
def test_fewer_than_twelve_units_decide_no_comparison(browser: Browser, tmp_path: Path, units: int, told: str):
    level = np.random.default_rng(0).random((units, 3))
    values = {"a": 0.9 + level, "b": 0.5 + level**2}
    two = [declared(made_up(name, {"auroc_k1": x}, metrics=BETTER)) for name, x in values.items()]
    path = tmp_path / "page.html"
    path.write_text(leaderboard_text(two, "html"))
    browser.open(f"{path.as_uri()}#view=compare&a=a&b=b")
    assert browser.texts(".pairs tbody td:nth-child(6)") == [told]
    assert any("of 2 to 11 units none" in said for said in browser.texts("main p"))
