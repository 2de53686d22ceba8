"""The README shows what the records say. `python -m tests.test_readme` writes the table into it."""

from __future__ import annotations

import json
import re
from itertools import dropwhile, takewhile
from pathlib import Path

from tabulate import tabulate

from saebench_lite.bundled import ROOT as BUNDLED
from saebench_lite.records.record import read_all
from saebench_lite.report.leaderboard import leaderboard
from saebench_lite.report.quiver import quivers, to_text

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BLOCK = re.compile(r"(<!-- table: (\S+) -->\n)(.*?)(<!-- /table -->)", re.S)


COLUMNS = (
    "subject",
    "d_sae",
    "L0",
    "control",
    "sparse_probing average_precision_max ↑",
    "sparse_probing auroc_k1_mean ↑",
)
ROWS = 10
NOTES = ("Value ", "+: ", "No ranks: ", "The ", "L0, ")
"Beginnings of the lines below the table that the README repeats."


def table(folder: str) -> str:
    """Some columns of a leaderboard's first dimension, its first and last rows, and where the whole of it is."""
    records, complaints = read_all(ROOT / folder)
    assert complaints == []
    title, *rest = leaderboard(records).splitlines()
    lines = list(takewhile(lambda line: line.startswith("|"), dropwhile(lambda line: not line.startswith("|"), rest)))
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    chosen = [[row[head.index(column)] for column in COLUMNS] for row in rows]
    gap = [f"… {len(rows) - ROWS} more", *["" for _ in COLUMNS[1:]]]
    shown = [*chosen[: ROWS // 2], gap, *chosen[-ROWS // 2 :]]
    notes = [line for line in rest if line.startswith(NOTES)]
    more = (
        f"All rows and metrics, with calibrated scores and noise: [{folder}/leaderboard.md]({folder}/leaderboard.md)."
    )
    body = tabulate(shown, COLUMNS, tablefmt="github", disable_numparse=True)
    return "\n".join([title, "", body, "", *(note.strip() + "  " for note in notes), more, ""])


def updated(text: str) -> str:
    """The README with every table rebuilt from its records."""
    return BLOCK.sub(lambda m: m[1] + table(m[2]) + m[4], text)


def test_tables_are_those_of_the_records():
    text = README.read_text()
    assert BLOCK.search(text)
    assert updated(text) == text, "run python -m tests.test_readme"


def test_every_results_folder_has_its_tables_and_is_listed():
    listed = (ROOT / "results" / "README.md").read_text()
    folders = [p.parent for p in (ROOT / "results").glob("*/records")]
    assert len(folders) >= 3
    for folder in folders:
        assert f"`{folder.name}`" in listed
        records, complaints = read_all(folder)
        assert complaints == []
        assert (folder / "leaderboard.md").read_text() == leaderboard(records)  # what the command writes
        if (folder / "quiver.md").exists():
            assert (folder / "quiver.md").read_text() == to_text(quivers(records))


def test_quoted_figures_of_the_model():
    figures = json.loads((BUNDLED / "pico" / "training.json").read_text())
    text = re.sub(r"\s+", " ", README.read_text())
    assert (
        f"held-out loss {figures['held_out_loss']:.2f} nats per token (uniform {figures['uniform_loss']:.2f})" in text
    )
    assert f"right in {100 * figures['first_letter_accuracy']:.0f} % of prompts" in text
    saes = json.loads((BUNDLED / "saes" / "training.json").read_text())["saes"]
    assert {p.name for p in (BUNDLED / "saes").iterdir() if p.is_dir()} == set(saes)


if __name__ == "__main__":
    README.write_text(updated(README.read_text()))
