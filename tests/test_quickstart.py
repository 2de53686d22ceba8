"""The notebook docs/quickstart.ipynb is run, and shows what it shows. `python -m tests.test_quickstart` writes it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from tests.helpers.notebook import figures, outputs

NOTEBOOK = Path(__file__).resolve().parent.parent / "docs" / "quickstart.ipynb"


def code_cells(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run(notebook: dict, folder: Path) -> list[list[dict]]:
    return outputs(["".join(cell["source"]) for cell in code_cells(notebook)], folder)


def seen_in(shown: list[dict]) -> str:
    """What a reader sees; the text beside a leaderboard's HTML holds seconds."""
    return json.dumps([o["data"]["text/html"] if "text/html" in o.get("data", {}) else o for o in shown])


def test_the_notebook_shows_what_it_shows(tmp_path):
    notebook = json.loads(NOTEBOOK.read_text())
    cells, got = code_cells(notebook), run(notebook, tmp_path)
    assert [c["execution_count"] for c in cells] == list(range(1, len(cells) + 1))
    for cell, now in zip(cells, got, strict=True):
        (then_text, then), (now_text, seen) = figures(seen_in(cell["outputs"])), figures(seen_in(now))
        assert now_text == then_text, "run python -m tests.test_quickstart"
        assert np.allclose(seen, then, atol=0.02), (seen, then)


def test_figures_are_told_from_words():
    assert figures("a 0.5 and -1.25, 12 of b") == ("a # and #, 12 of b", [0.5, -1.25])


if __name__ == "__main__":
    written = json.loads(NOTEBOOK.read_text())
    with tempfile.TemporaryDirectory() as folder:
        for number, (cell, shown) in enumerate(
            zip(code_cells(written), run(written, Path(folder)), strict=True), start=1
        ):
            cell["outputs"], cell["execution_count"] = shown, number
    NOTEBOOK.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")
