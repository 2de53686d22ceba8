"""The data and the file of the HTML page, read without a browser."""

import base64
import hashlib
import json
import re

import numpy as np
import pytest

from saebench_lite.records.record import Record, read_all
from saebench_lite.records.verdicts import shipped_verdicts
from saebench_lite.report import compare, page_pairs
from saebench_lite.report.leaderboard import leaderboard_text, tables
from saebench_lite.report.page import embedded
from saebench_lite.report.page_data import page_data
from tests.conftest import ROOT
from tests.helpers.page_records import BETTER, declared, page_of_a_hundred, page_records
from tests.helpers.record_factory import made_up


def data_of(records: list[Record]) -> dict:
    return json.loads(embedded(page_data(tables(records, shipped_verdicts()), records, shipped_verdicts())))


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return page_records()


@pytest.fixture(scope="module")
def data(records) -> dict:
    return data_of(records)


def site(data: dict, hook: str = "h") -> dict:
    return next(s for s in data["sites"] if s["hook"] == hook)


def cells(data: dict) -> dict[tuple[str, str, str], dict]:
    """(hook, subject, metric) -> what the page holds of it, for cells with a value."""
    out = {}
    for s in data["sites"]:
        for c in s["columns"]:
            for i, subject in enumerate(s["subjects"]):
                if c["value"][i] is not None:
                    cell = {k: c[k][i] for k in ("value", "low", "high", "units", "text")}
                    cell |= (
                        {f"calibrated {k}": c["calibrated"][k][i] for k in ("value", "low", "high")}
                        if "calibrated" in c
                        else {}
                    )
                    record = data["records"][data["shared"][c["record"]][i]]["digest"]
                    out[s["hook"], subject["name"], c["metric"]] = cell | {"record": record, "verdict": c["verdict"]}
    return out


def test_every_number_is_that_of_the_long_rows(records, data):
    rows = [r for r in json.loads(leaderboard_text(records, "json")) if r["metric"]]
    got = cells(data)
    assert len(got) == len(rows)
    for row in rows:
        cell = got[row["hook"], row["subject"], row["metric"]]
        assert [cell[k] for k in ("value", "low", "high", "units", "record", "verdict")] == [
            row[k] for k in ("value", "low", "high", "n", "record", "verdict")
        ]
        for key in ("value", "low", "high") if "calibrated value" in cell else ():
            assert cell[f"calibrated {key}"] == row["calibrated" if key == "value" else f"calibrated_{key}"]
    assert any("calibrated value" in cell and cell["calibrated value"] is not None for cell in got.values())


def texts_of(s: dict, i: int, subject: dict) -> set[str]:
    """All texts that the page holds of the subject of row i."""
    out = {subject[k] for k in ("width_text", "l0_text", "dominated")}
    for c in s["columns"]:
        out |= {c["text"][i], *(c["calibrated"]["text"][i : i + 1] if "calibrated" in c else ())}
        out |= {texts[i] for texts in c.get("places", {}).values()}
    return out


def test_every_text_of_the_markdown_stands_in_the_page(records, data):
    """Cells, headings and notes; an n/a or a failure has its reason in place of a footnote."""
    text = leaderboard_text(records, "md")
    for s in data["sites"]:
        part = text.split("### " + s["title"])[1].split("\n### ")[0]
        table = [[c.strip() for c in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("| ")]
        held = {x["name"]: texts_of(s, i, x) for i, x in enumerate(s["subjects"])}
        shown = [(re.sub(r" \([bcdo]\)$", "", head), rest) for head, *rest in table]
        assert {name for name, _ in shown} >= set(held)
        for name, rest in shown:
            for cell in rest if name in held else ():
                assert re.sub(r" \(\d+\)$", "", cell) in held[name], (name, cell)
        for note in s["notes"]:
            assert note in part
        for section in s["sections"]:
            assert section["heading"] in part or not section["columns"]
    assert [r["reason"] for r in data["records"] if r["status"] == "failed"] == ["it broke"]


def test_pairs_are_those_of_compare(records, data):
    s = site(data)
    assert len(s["pairs"]["rows"]) == 6 * 4
    a, b = (next(i for i, x in enumerate(s["subjects"]) if x["name"] == n) for n in ("topk_a", "relu_b"))
    own = [r for r in records if r.site.hook == "h"]
    compared = compare.to_rows(compare.compare(own, own, "topk_a", "relu_b")[0])
    want = {r["metric"]: r for r in json.loads(json.dumps(compared))}
    rows = [r for r in s["pairs"]["rows"] if {r[0], r[1]} == {a, b}]
    assert {s["columns"][r[2]]["metric"] for r in rows} == set(want)
    for i, _, column, forth, back, p, decided, won, tied, lost, units, more, _ in rows:
        row = want[s["columns"][column]["metric"]]
        assert i == a
        assert float(forth.split(" ")[0]) == pytest.approx(row["difference"], abs=6e-4)
        assert float(back.split(" ")[0]) == pytest.approx(-row["difference"], abs=6e-4)
        assert [float(x) for x in re.findall(r"[\d.-]+", back.split("[")[1])] == pytest.approx(
            [-row["high"], -row["low"]], abs=6e-4
        )
        assert decided is (row["p_holm"] <= 0.05)
        assert (won, tied, lost, units) == (row["win"], row["tie"], row["loss"], row["units"])
        assert (more is None) or not decided
        assert (p == "<0.001") is (row["p_holm"] < 0.001)


def test_an_undecided_pair_tells_how_many_units_it_needs():
    r = np.random.default_rng(1)
    level = r.normal(0, 0.1, (20, 1))
    two = [declared(made_up(n, {"auroc_k1": 0.7 + level + r.normal(0, 0.05, (20, 3))}, metrics=BETTER)) for n in "ab"]
    (row,) = data_of(two)["sites"][0]["pairs"]["rows"]
    assert row[6] is False
    assert re.fullmatch(r"(about|more than) [\d,]+( more)?", row[11])
    few = [declared(made_up(n, {"auroc_k1": r.normal(0.7, 0.05, (11, 3))}, metrics=BETTER)) for n in "ab"]
    (row,) = data_of(few)["sites"][0]["pairs"]["rows"]
    assert (row[6], row[11]) == (None, None)


def test_the_best_saes_alone_are_paired_where_there_are_too_many(records, monkeypatch):
    monkeypatch.setattr(page_pairs, "MOST", 12)
    pairs = site(data_of(records))["pairs"]
    assert len(pairs["subjects"]) == 3
    assert len(pairs["rows"]) == 12


def test_unit_values_are_means_over_seeds(records, data):
    column = next(c for c in site(data)["columns"] if c["metric"] == "auroc_k1")
    at = next(i for i, x in enumerate(site(data)["subjects"]) if x["name"] == "relu_a")
    record = next(r for r in records if (r.subject.name, r.task.name, r.site.hook) == ("relu_a", "sparse_probing", "h"))
    want = np.mean(np.array(record.per_unit["auroc_k1"].values, dtype=float), axis=1)
    assert data["shared"][column["per_unit"]["names"]] == record.per_unit["auroc_k1"].units
    np.testing.assert_allclose(column["per_unit"]["values"][at], want, rtol=1e-3)


def test_metrics_that_are_no_headline_have_values_and_no_ranks(records, data):
    columns = {c["metric"]: c for c in site(data)["columns"]}
    assert "places" in columns["auroc_k1"]
    assert not {"places", "per_unit", "calibrated"} & set(columns["auroc_k2"])
    full = page_data(tables(records, shipped_verdicts(), "all"), records, shipped_verdicts())
    assert "places" in {c["metric"]: c for c in site(full)["columns"]}["auroc_k2"]


def test_the_front_over_l0_is_marked(data):
    s = site(data)
    column = next(c for c in s["columns"] if c["metric"] == "explained_variance")
    front = {x["name"]: f for x, f in zip(s["subjects"], column["front"], strict=True)}
    saes = {x["name"] for x in s["subjects"] if x["kind"] == "sae"} - {"broken"}
    assert {name for name in saes if front[name]} == {"topk_a"}
    assert {front[name] for name in set(front) - saes} <= {None, False}


def test_order_of_records_does_not_matter(records):
    assert leaderboard_text(records[::-1], "html") == leaderboard_text(records, "html")


def test_nothing_is_loaded_from_outside_and_the_policy_allows_only_what_is_in_the_page(records):
    page = leaderboard_text(records, "html")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src 'none';")
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.S)
    script = re.findall(r"<script>(.*?)</script>", page, re.S)[-1]
    for kind, source in (("style", style), ("script", script)):
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not re.search(r"""(src|href)=["'](?!#)|@import|url\(|fetch\(|XMLHttp|WebSocket|sendBeacon|innerHTML""", page)


def test_a_name_cannot_end_the_data_element():
    page = leaderboard_text(
        [made_up("</script><img src=x onerror=alert(1)>&", {"auroc": np.full((3, 1), 0.5)}, seeds=(42,))], "html"
    )
    (held,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert not set("<>&") & set(held)
    assert json.loads(held)["sites"][0]["subjects"][0]["name"] == "</script><img src=x onerror=alert(1)>&"


def test_a_training_curve_is_left_to_its_figure():
    meta = {"architecture": "topk", "training_curve": {"step": [0, 1]}}
    record = made_up("a", {"auroc": np.full((3, 1), 0.5)}, seeds=(42,), meta=meta)
    (subject,) = data_of([record])["sites"][0]["subjects"]
    assert subject["meta"] == {"architecture": "topk"}


def test_records_without_scores_or_units_make_a_page():
    broken = made_up("a", {}, headline=["auroc"], status="failed")
    assert data_of([broken])["sites"][0]["columns"][0]["text"] == ["failed"]
    assert "</html>" in leaderboard_text([broken], "html")


def test_a_hundred_subjects_on_113_data_sets_stay_under_two_megabytes():
    """400 kB kept for ranks and pairs."""
    assert len(page_of_a_hundred()) < 2e6 - 4e5


@pytest.mark.parametrize("metrics", [{"auroc": np.full((3, 1), 0.5)}, {}])
def test_a_task_without_a_headline_makes_a_page(metrics):
    """It raised IndexError."""
    record = made_up("a", metrics, seeds=(1,), headline=[], status="ok" if metrics else "failed")
    assert "</html>" in leaderboard_text([record], "html")
    assert [c["metric"] for site in data_of([record])["sites"] for c in site["columns"]] == list(metrics)


def test_the_page_of_the_largest_published_folder_stays_under_a_megabyte():
    records, _ = read_all(ROOT / "results" / "smollm2")
    assert len(leaderboard_text(records, format="html").encode()) < 1_000_000
