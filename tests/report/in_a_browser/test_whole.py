"""What holds on the whole page in a headless Chromium: links, keys, colours, sizes, foreign names, access."""

import csv
import io
import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from saebench_lite.records.metric import Better
from saebench_lite.records.types import Kind
from saebench_lite.report.leaderboard import leaderboard_text
from tests.helpers.browser import Browser, found
from tests.helpers.page_records import BETTER, declared, page_of_a_hundred, page_records
from tests.helpers.record_factory import made_up
from tests.report.in_a_browser.seen import AUROC, VIEWS, rows

NAMES = 'document.querySelectorAll(".board tbody .name")'

pytestmark = pytest.mark.skipif(found() is None, reason="needs Chromium")


def test_a_link_reaches_the_provenance_of_a_record(at):
    record = next(r for r in page_records() if r.subject.name == "relu_a" and r.task.name == "reconstruction")
    browser = at(f"record={record.digest}")
    assert browser.evaluate("document.getElementById('details').open") is True
    assert browser.texts("#details-title") == ["relu_a"]
    opened = browser.texts("#details details[open]")
    assert len(opened) == 1
    assert all(part in opened[0] for part in (record.digest, "2025-01-01T00:00:00Z", "torch 2", "Linux x86_64"))
    browser.press("Escape")
    browser.wait("!document.getElementById('details').open")
    browser.wait("!location.hash.includes('record')")


def test_keys_alone_sort_and_open(at):
    browser = at("preset=recovery")
    browser.evaluate(f"document.querySelector('[data-focus=\"sort-{AUROC}\"]').focus()")
    before = rows(browser)
    browser.press("Enter")
    assert rows(browser) == before[::-1]
    assert browser.evaluate("document.activeElement.dataset.focus") == f"sort-{AUROC}"
    browser.evaluate(f"{NAMES}[0].focus()")
    browser.press("Enter")
    browser.wait("document.getElementById('details').open")
    assert browser.texts("#details-title") == [rows(browser)[0]]
    browser.press("Tab")
    assert browser.evaluate("document.getElementById('details').contains(document.activeElement)") is True


def test_sites_are_told_apart(at):
    browser = at()
    ids = browser.evaluate("[...document.querySelector('[data-focus=hook]').options].map(o => o.value)")
    assert ids == ["h", "other"]
    browser.fill('[data-focus="hook"]', "other")
    assert set(rows(browser)) == {"topk_a", "topk_b"}
    assert "m · other · float32" in browser.texts("header p")[0]


def test_colours_follow_the_system_until_they_are_chosen(at):
    def back(browser: Browser) -> object:
        return browser.evaluate("getComputedStyle(document.body).backgroundColor")

    browser = at()
    light = back(browser)
    browser.prefer("dark")
    dark = back(browser)
    assert light != dark
    browser.click('[data-focus="theme-light"]')
    assert back(browser) == light
    assert back(at()) == light
    browser.prefer("light")
    browser.click('[data-focus="theme-dark"]')
    assert back(browser) == dark
    browser.click('[data-focus="theme-auto"]')
    assert back(browser) == light


@pytest.mark.parametrize("view", VIEWS)
def test_a_phone_scrolls_down_and_not_across(at, browser: Browser, view: str):
    browser.resize(390, 844)
    at(f"view={view}")
    assert browser.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("width", [700, 820, 1000, 1280])
@pytest.mark.parametrize("panel", ["filters", "columns"])
def test_what_opens_stays_on_the_screen(at, browser: Browser, width: int, panel: str):
    browser.resize(width, 800)
    at("preset=recovery")
    browser.click(f"details.{panel} > summary")
    bounds = f"document.querySelector('.{panel} .panel').getBoundingClientRect()"
    box = browser.evaluate(f"[{bounds}.left, {bounds}.right]")
    assert isinstance(box, list)
    assert 0 <= box[0] < box[1] <= browser.evaluate("document.documentElement.clientWidth")


@pytest.mark.parametrize("width", [500, 641, 1000, 1400, 1900])
@pytest.mark.parametrize("name", ["abc", "a_name_of_sixty_letters_" * 2 + "twelve_12345", "y" * 60, "two words " * 6])
def test_names_and_tags_stay_in_their_cells(browser: Browser, tmp_path: Path, name: str, width: int):
    better: dict[str, Better] = {f"auroc_k{k}": "higher" for k in range(1, 9)}
    kinds: tuple[Kind, ...] = ("sae", "control", "dictionary baseline", "baseline")
    made = []
    for i in range(8):
        scores = {m: 0.7 + 0.01 * i + np.random.default_rng(i).normal(0, 0.05, (12, 3)) for m in better}
        of = kinds[i % 4]
        meta: dict[str, object] = {"d_sae": 4096}
        made.append(made_up(f"{name}{i}", scores, kind=of, metrics=better, headline=list(better), meta=meta))
    (tmp_path / "page.html").write_text(leaderboard_text(made, "html"))
    browser.resize(width, 900)
    browser.open((tmp_path / "page.html").as_uri())
    boxes = browser.evaluate(CELLS)
    assert isinstance(boxes, list)
    assert len(boxes) == 8 + 6  # a name a row, and a tag of those that are no SAEs
    assert [b for b in boxes if b[0] < b[2] or b[1] > b[3]] == []


CELLS = """[...document.querySelectorAll(".board tbody :is(.name, .kind)")].map((e) => {
  const [own, cell] = [e, e.closest("th")].map((x) => x.getBoundingClientRect());
  return [own.left, own.right, cell.left, cell.right];
})"""


def test_hostile_names_are_text_everywhere(browser: Browser, tmp_path: Path):
    names = ["</script><img src=x onerror=alert(1)>", "=1+2", "a\u202eb\u0007c", "x_{}$&%#^~\\", '\'; "q"']
    r = np.random.default_rng(0)
    made = [
        declared(made_up(n, {"auroc_k1": 0.7 + r.normal(0, 0.05, (12, 3))}, metrics=BETTER, meta={"architecture": n}))
        for n in names
    ]
    (tmp_path / "page.html").write_text(leaderboard_text(made, "html"))
    browser.errors.clear()
    for view in ("table", "scatter", "units", "compare"):
        browser.open((tmp_path / "page.html").as_uri() + f"#view={view}")
        assert browser.evaluate("document.querySelectorAll('img').length") == 0
    browser.open((tmp_path / "page.html").as_uri())
    shown = set(rows(browser))
    assert shown == {names[0], names[1], "a[U+202E]b[U+0007]c", names[3], names[4]}
    browser.click('[data-focus="save-csv"]')
    saved = list(csv.DictReader(io.StringIO(browser.saved("leaderboard-table.csv"))))
    assert {row["subject"] for row in saved} == {names[0], "'=1+2", names[2], names[3], names[4]}
    browser.click('[data-focus="save-tex"]')
    tex = browser.saved("leaderboard-table.tex")
    assert r"x\_\{\}\$\&\%\#\textasciicircum{}\textasciitilde{}\textbackslash{}" in tex
    assert "".join(tex.splitlines()[1:]).isascii()  # the first line is a comment
    browser.evaluate(f"{NAMES}[0].click()")
    assert browser.texts("#details-title")[0] in shown
    assert browser.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(at, scheme: str):
    """Colours, names of controls, tables and focus by axe-core's rules, in each view and with a record open."""
    axe = resources.files(pytest.importorskip("axe_core_python")).joinpath("axe.min.js").read_text("utf-8")
    for view in (*VIEWS, "record"):
        browser = at("view=table" if view == "record" else f"view={view}")
        browser.prefer(scheme)
        if view == "record":
            browser.click(".board tbody .name")
        browser.evaluate(f"{axe}; 0")
        violations = json.loads(str(browser.evaluate(AXE)))
        assert [v for v in violations if v[1] in ("serious", "critical")] == [], view


AXE = """axe.run(document, {resultTypes: ["violations"]}).then((r) => JSON.stringify(
  r.violations.map((v) => [v.id, v.impact, v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160))])))"""


def test_a_hundred_subjects_are_shown_and_sorted_within_a_second(browser: Browser, tmp_path: Path):
    """Seconds of the page's own thread, not by the clock, which others share."""
    path = tmp_path / "hundred.html"
    path.write_text(page_of_a_hundred())
    browser.resize(1280, 900)
    browser.call("Performance.enable", timeDomain="threadTicks")
    browser.open(path.as_uri())
    assert len(rows(browser)) == 100
    shown = busy(browser)
    browser.click('[data-focus="sort-name"]')
    assert busy(browser) - shown < 1
    assert shown < 1


def busy(browser: Browser) -> float:
    """Seconds that the page's thread has worked since it was opened."""
    browser.evaluate("document.body.offsetHeight")
    metrics = {m["name"]: m["value"] for m in browser.call("Performance.getMetrics")["metrics"]}
    return metrics["TaskDuration"]
