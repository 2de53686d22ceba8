"""The README shows what the records say. `python -m tests.test_readme` writes the table into it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from saebench_lite.bundled import ROOT as BUNDLED
from saebench_lite.records.record import read_all
from saebench_lite.records.verdicts import shipped_verdicts
from saebench_lite.report.leaderboard import leaderboard_text, tables
from saebench_lite.report.quiver import quivers, to_text
from saebench_lite.report.terminal_table import narrow

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BLOCK = re.compile(r"(<!-- table: (\S+) -->\n)(.*?)(<!-- /table -->)", re.S)


WIDTH = 100


def table(folder: str) -> str:
    """A leaderboard as a terminal of WIDTH characters shows it, and where the whole of it is."""
    records, complaints = read_all(ROOT / folder)
    assert complaints == []
    shown = "\n".join(narrow(t, WIDTH) for t in tables(records, shipped_verdicts()))
    more = f"All columns, with intervals and notes: [{folder}/leaderboard.md]({folder}/leaderboard.md)."
    return f"```text\n{shown}```\n\n{more}\n"


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
        assert (folder / "leaderboard.md").read_text() == leaderboard_text(records)  # what the command writes
        if (folder / "quiver.md").exists():
            assert (folder / "quiver.md").read_text() == to_text(quivers(records))


def test_quoted_figures_of_the_model():
    figures = json.loads((BUNDLED / "pico" / "training.json").read_text())
    text = re.sub(r"\s+", " ", (ROOT / "docs" / "pico.md").read_text())
    assert (
        f"held-out loss {figures['held_out_loss']:.2f} nats per token (uniform {figures['uniform_loss']:.2f})" in text
    )
    assert f"right in {100 * figures['first_letter_accuracy']:.0f} % of prompts" in text
    saes = json.loads((BUNDLED / "saes" / "training.json").read_text())["saes"]
    assert {p.name for p in (BUNDLED / "saes").iterdir() if p.is_dir()} == set(saes)


if __name__ == "__main__":
    README.write_text(updated(README.read_text()))
