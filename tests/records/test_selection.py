"""Which records count, and what tables of several sites and data are called, from made-up records."""

import csv
import dataclasses
import io

import numpy as np
import pytest

import saebench_lite as sb
from saebench_lite.records.selection import UNREADABLE, current, site_and_data, site_titles, unmended
from saebench_lite.records.verdicts import shipped_verdicts
from saebench_lite.report.compare import compare, to_rows
from saebench_lite.report.compare_text import to_terminal, to_text
from saebench_lite.report.leaderboard import leaderboard_text, tables
from saebench_lite.report.regression import check
from saebench_lite.report.saved_baseline import save_baseline
from saebench_lite.report.sites import over_sites
from tests.helpers.record_factory import data_info, made_up, provenance, site

LOW, HIGH = np.full((9, 3), 0.2), np.full((9, 3), 0.7)
OLD, NEW = "2025-01-01T00:00:00Z", "2025-06-01T00:00:00Z"


def scored(value: np.ndarray, fingerprint: str, date: str, **how):
    return made_up("mine", {"auroc": value}, fingerprint=fingerprint, date=date, **how)


def test_scores_of_an_earlier_sae_of_the_same_name_are_left_out_and_named(caplog):
    records = [
        scored(LOW, "old", OLD),
        scored(LOW, "old", OLD, task="absorption"),
        scored(HIGH, "new", NEW),
        made_up("b", {"auroc": LOW}, date=OLD, task="absorption"),
    ]
    kept = current(records)
    assert [(r.subject.name, r.task.name) for r in kept] == [("mine", "sparse_probing"), ("b", "absorption")]
    assert kept[0].subject.fingerprint == "new"
    assert "earlier subjects of the same name, mine (sparse_probing, absorption); run these tasks again" in caplog.text
    assert sorted(sb.leaderboard(records).to_frame()["subject"]) == ["b", "mine"]


def test_other_sites_and_data_and_subjects_that_could_not_be_read_take_nothing_away(caplog):
    records = [
        scored(LOW, "old", OLD),
        scored(HIGH, "new", NEW, hook="k"),
        scored(HIGH, "newer", NEW, data="1"),
        made_up("mine", fingerprint=UNREADABLE, date=NEW, status="failed", task="absorption"),
    ]
    assert current(records) == records
    assert caplog.text == ""


@pytest.mark.parametrize("fingerprint", [UNREADABLE, "old code", "new"])
def test_a_failure_counts_until_the_subject_of_that_name_does_the_same_later(tmp_path, fingerprint):
    failed = made_up("mine", fingerprint=fingerprint, date=OLD, status="failed", settings={"k": 1})
    good = scored(HIGH, "new", NEW, settings={"k": 1})
    assert current([failed, good]) == [good]
    assert check([failed, good], [good]).problems == check([good], [failed, good]).problems == []
    for r in (failed, good):
        r.save(tmp_path / "run")
    assert save_baseline(tmp_path / "run", tmp_path / "saved")[0] == 1
    again = dataclasses.replace(failed, provenance=provenance("2025-07-01T00:00:00Z"))
    undated = dataclasses.replace(failed, provenance=None)
    others = [
        dataclasses.replace(failed, **changed)
        for changed in (
            {"data": data_info("1")},
            {"site": site(hook="k")},
            {"settings": {"k": 2}},
            {"task": dataclasses.replace(failed.task, name="absorption")},
        )
    ]
    for record in (again, undated, *others):
        assert unmended([record, good]) == [record, good]
    assert check([good, again], [good]).status() == 2


def named(digest: str, **how):
    """Records of a and b whose data are called the same whatever their digest."""
    records = [made_up(s, {"auroc": v}, data=digest, **how) for s, v in (("a", HIGH), ("b", LOW))]
    return [dataclasses.replace(r, data=data_info(digest, "bundled")) for r in records]


def test_tables_of_data_of_one_name_are_told_apart_by_the_digest_of_the_data():
    records = [*named("aaaa1"), *named("bbbb1")]
    heads = ["m · h · float32 · data bundled [aaaa]", "m · h · float32 · data bundled [bbbb]"]
    per_site = tables(records, shipped_verdicts())
    assert [t.title for t in per_site] == heads
    assert "| data bundled [aaaa] " in over_sites(per_site)
    assert list(site_titles(records[:2]).values()) == ["m · h · float32 · data bundled"]
    rows = csv.DictReader(io.StringIO(leaderboard_text(records, "csv")))
    assert [r["data"] for r in rows] == ["bundled [aaaa]", "bundled [bbbb]"] * 2
    assert site_titles(records)[site_and_data(records[-1])] == heads[1]


def test_a_comparison_over_several_tables_says_which_row_is_of_which():
    records = [*named("aaaa1"), *named("bbbb1"), *named("aaaa1", hook="k")]
    rows, _ = compare(records, records, "a", "b")
    assert sorted(str(r["site"]) for r in to_rows(rows)) == [
        "h · data bundled [aaaa]",
        "h · data bundled [bbbb]",
        "k · data bundled [aaaa]",
    ]
    assert " · k · data bundled [aaaa]" in to_terminal(rows, [], "a", "b")
    assert " · k · data bundled [aaaa]" in to_text(rows, [], "a", "b")
    alone, _ = compare(records[:2], records[:2], "a", "b")
    assert "site" not in to_rows(alone)[0]
    assert "·" not in to_terminal(alone, [], "a", "b")
