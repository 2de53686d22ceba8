"""The HTML page in a headless Chromium: what a reader clicks, types, reloads and saves."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from saebench_lite.records.metric import Better
from saebench_lite.records.record import read_all
from saebench_lite.records.types import Kind
from saebench_lite.report.leaderboard import leaderboard_text
from tests.conftest import ROOT
from tests.helpers.browser import Browser, found
from tests.helpers.page_records import BETTER, declared, page_of_a_hundred, page_records
from tests.helpers.record_factory import made_up

pytestmark = pytest.mark.skipif(found() is None, reason="needs Chromium")

VIEWS = ("table", "scatter", "units", "curve", "density", "compare")
NAMES = 'document.querySelectorAll(".board tbody .name")'
AUROC = "sparse_probing@1/auroc_k1"


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(leaderboard_text(page_records(), "html"))
    return path.as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    one = Browser(tmp_path_factory.mktemp("saved"))
    yield one
    one.close()


@pytest.fixture
def at(browser: Browser, page: str):
    """Opens the page with something after `#`; no test may leave an error or a request to elsewhere behind."""

    def show(said: str = "") -> Browser:
        browser.open(f"{page}#{said}")
        return browser

    browser.errors.clear()
    browser.requests.clear()
    browser.resize(1280, 900)
    browser.prefer("light")
    yield show
    assert browser.errors == []
    assert {url.split("#")[0] for url in browser.requests} <= {page, "about:blank"}


def rows(browser: Browser) -> list[str]:
    return browser.texts(".board tbody .name")


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


@pytest.mark.parametrize(("units", "told"), [(11, "too few units"), (12, "A is better")])
def test_fewer_than_twelve_units_decide_no_comparison(browser: Browser, tmp_path: Path, units: int, told: str):
    level = np.random.default_rng(0).random((units, 3))
    values = {"a": 0.9 + level, "b": 0.5 + level**2}
    two = [declared(made_up(name, {"auroc_k1": x}, metrics=BETTER)) for name, x in values.items()]
    path = tmp_path / "page.html"
    path.write_text(leaderboard_text(two, "html"))
    browser.open(f"{path.as_uri()}#view=compare&a=a&b=b")
    assert browser.texts(".pairs tbody td:nth-child(6)") == [told]
    assert any("of 2 to 11 units none" in said for said in browser.texts("main p"))


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
