"""The table for a terminal: no line is wider than asked, nothing is lost, what matters comes first."""

import dataclasses
import re

import numpy as np
import pytest

from saebench_lite.records.record import Record
from saebench_lite.records.selection import variant
from saebench_lite.records.types import Kind
from saebench_lite.records.verdicts import Verdicts
from saebench_lite.report.leaderboard import tables
from saebench_lite.report.notes import notes
from saebench_lite.report.numbers import NO_INTERVAL
from saebench_lite.report.table import Table
from saebench_lite.report.terminal_table import narrow
from tests.helpers.record_factory import made_up

WIDTHS = (60, 80, 100, 120, 160)


def with_constructs(record: Record) -> Record:
    constructs = {"auroc": "recovery", "ratio": "recovery", "delta": "fidelity", "l0": "sparsity"}
    metrics = {n: dataclasses.replace(m, construct=constructs[n]) for n, m in record.task.metrics.items()}
    return dataclasses.replace(record, task=dataclasses.replace(record.task, metrics=metrics))


def subject(name: str, level: float, kind: Kind = "sae", units: int = 40) -> list[Record]:
    draw = np.random.default_rng(len(name))
    noise = 0.01 * draw.normal(size=(units, 1))
    probing = made_up(name, {"auroc": level + noise, "ratio": level + noise}, seeds=(1,), kind=kind)
    spliced = {"delta": 1 - level + noise, "l0": np.full((units, 1), 15.1664)}
    if kind == "baseline":
        return [with_constructs(probing)]
    fidelity = made_up(name, spliced, task="ce_delta", seeds=(1,), kind=kind, headline=["delta", "l0"])
    return [with_constructs(probing), with_constructs(fidelity)]


def table(*parts: list[Record]) -> Table:
    (only,) = tables([r for part in parts for r in part], Verdicts({}))
    return only


def usual() -> Table:
    return table(
        *(subject(f"topk_1024_l0_{k}", 0.5 + k / 100) for k in (8, 16, 32)),
        subject("matched_random of topk_1024_l0_16", 0.2, "control"),
        subject("pca", 0.3, "dictionary baseline"),
        subject("logistic", 0.9, "baseline"),
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_wider_than_the_terminal(width):
    long = "an_sae_whose_name_is_longer_than_any_column_of_names_" * 3
    shown = table(
        *(subject(f"{long}{i}", 0.5) for i in range(4)), subject("x" * 200, 0.4), subject("b", 0.9, "baseline")
    )
    for made in (usual(), shown):
        assert max(map(len, narrow(made, width).splitlines())) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_names_are_whole_though_they_go_on_in_the_next_line(width):
    names = [f"a_very_long_name_of_an_sae_that_ends_in_{i}_and_goes_on" for i in range(3)]
    lines = narrow(table(*(subject(n, 0.5) for n in names)), width).splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("a_very")]
    assert sorted(rejoined(lines[i:]) for i in starts) == names
    continued = [lines[i].split("  ")[0] for i in starts if lines[i + 1].startswith("  ")]
    assert all(part.endswith("_") for part in continued)  # broken between words


def rejoined(lines: list[str]) -> str:
    """The name that begins in the first line: its column's text and the indented lines after it."""
    first = lines[0].split("  ")[0].rstrip()
    rest = []
    for line in lines[1:]:
        if not line.startswith("  "):
            break
        rest.append(line.strip())
    return first + "".join(rest)


def test_what_a_row_says():
    text = narrow(usual(), 100)
    (row,) = [line for line in text.splitlines() if line.startswith("topk_1024_l0_32")]
    assert "15.2" in row  # L0, one decimal
    assert re.search(r"0\.8\d\d ±0\.00\d", row)
    assert "RECOVERY" in text
    assert "FIDELITY" in text
    assert "auroc ↑" in text


def test_controls_and_baselines_stand_apart_below_the_saes():
    lines = narrow(usual(), 100).splitlines()
    saes, controls, baselines = "SAEs -", "controls, which should lose -", "supervised baselines -"
    words = [saes, "topk_1024_l0_8", "dictionary baselines -", "pca", controls, "matched_random", baselines, "logistic"]
    at = [next(i for i, line in enumerate(lines) if line.startswith(word)) for word in words]
    assert at == sorted(at)


def test_ranks_need_units_and_the_column_is_called_what_it_holds():
    assert re.search(r"L0 +rank", narrow(usual(), 100))
    few = table(
        *(subject(f"s{i}", 0.5 + i / 10, units=12) for i in range(3)), subject("random_topk", 0.1, "control", 12)
    )
    text = narrow(few, 100)
    assert re.search(r"L0 +control", text)
    assert "No ranks by sparse_probing auroc: 12 units" in text


def test_metrics_asked_for_are_those_shown_and_more_room_shows_more():
    text = narrow(usual(), 100, ["ratio"])
    assert "ratio →1" in text
    assert "auroc ↑" not in text
    assert "ce_delta" not in narrow(usual(), 100, ["sparse_probing.ratio"])
    assert narrow(usual(), 60).count("±") < narrow(usual(), 160).count("±")


def test_failures_and_what_does_not_apply_are_words():
    failed = made_up("broken", {"auroc": np.full((40, 1), 0.5)}, seeds=(1,), status="failed")
    text = narrow(table(subject("fine", 0.5), [with_constructs(failed)]), 80)
    (row,) = [line for line in text.splitlines() if line.startswith("broken")]
    assert "failed" in row


def test_names_with_controls_are_spelt_out_and_do_not_widen_a_line():
    made = table(subject("red \x1b[31m" + "x" * 60, 0.5), subject("two\nlines", 0.4))
    text = narrow(made, 80)
    assert "\x1b" not in text
    assert "two lines" in text
    assert max(map(len, text.splitlines())) <= 80


def test_order_of_records_does_not_change_the_text():
    parts = [subject(f"s{i}", 0.5 + i / 50) for i in range(3)]
    assert narrow(table(*parts), 100) == narrow(table(*parts[::-1]), 100)


def test_the_best_baseline_has_its_mark_and_what_is_no_sae_its_side():
    text = narrow(usual(), 100)
    said = {line.split("  ")[0]: line for line in text.splitlines()}
    assert all("+−" in line for name, line in said.items() if name.startswith("topk"))
    assert "above all" in said["logistic"]
    assert "below all" in said["pca"]
    (legend,) = [" ".join(part.split()) for part in text.split("\n\n") if "value ±" in part]
    assert "−: worse than the best supervised baseline, above or below all: of the SAEs" in legend
    without = narrow(table(*(subject(f"s{i}", 0.5 + i / 10) for i in range(3))), 100)
    assert "−" not in without
    assert "supervised baseline" not in without


@pytest.mark.parametrize("width", [80, 100, 120])
def test_codes_of_settings_are_explained_where_they_stand(width):
    made = [
        with_constructs(made_up(n, {"auroc": np.full((40, len(seeds)), v)}, seeds=seeds, settings={"pooling": pooling}))
        for n, v in (("a", 0.5), ("b", 0.6))
        for pooling, seeds in (("mean", (1,)), ("last", (1, 2)))
    ]
    lines = narrow(table(made), width).splitlines()
    assert max(map(len, lines)) <= width
    for code, told in {variant(r): f"pooling {r.settings['pooling']}, seeds" for r in made}.items():
        shown = [line for line in lines if f"[{code}]" in line]
        assert any(f"Settings of sparse_probing [{code}]: {told}" in line for line in shown)
    assert not any("Settings of" in line for line in narrow(table(made[::2]), width).splitlines())


def test_the_legend_names_what_ranks_and_marks_are_by():
    assert "rank by sparse_probing auroc: 95 % interval among the SAEs" in " ".join(narrow(usual(), 100).split())
    few = table(subject("s", 0.5, units=12), subject("random_topk", 0.1, "control", 12))
    assert "control by sparse_probing auroc, +: better than a random control" in " ".join(narrow(few, 100).split())


def test_chosen_columns_have_their_own_notes_alone():
    lone = with_constructs(made_up("s", {"delta": np.full((2, 1), 0.5)}, task="ce_delta", seeds=(1,)))
    made = table(*(subject(f"s{i}", 0.5 + i / 10) for i in range(2)), subject("low", 0.1, "control"), [lone])
    chosen, whole = narrow(made, 100, ["auroc"]), narrow(made, 100)
    assert "too few units" in whole  # of ce_delta
    assert "too few units" not in chosen
    told = notes(made.only(["auroc"]))
    assert [note for note in told if "ce_delta" in note or "ratio" in note or note == NO_INTERVAL] == []
    assert f"{len({*told, *made.sentences}) - 1} more notes" in chosen
    assert narrow(made, 100, ["ratio"], "elsewhere").rstrip().endswith("intervals and all columns: elsewhere.")


def test_an_interval_that_lies_unevenly_shows_its_ends():
    """Half of its length would reach where it does not."""
    skewed = subject("a", 0.5)
    score = skewed[0].scores["auroc"]
    skewed[0].scores["auroc"] = dataclasses.replace(score, value=0.16, low=0.03, high=1.0)
    text = narrow(table(skewed, subject("b", 0.4)), 100)
    assert "0.160 .03–1.00" in text
    assert "or its ends where one is over twice as far as the other" in " ".join(text.split())
    skewed[0].scores["auroc"] = dataclasses.replace(score, value=0.16, low=0.10, high=0.24)
    even = narrow(table(skewed, subject("b", 0.4)), 100)
    assert "0.160 ±0.070" in even
    assert "its ends" not in even
