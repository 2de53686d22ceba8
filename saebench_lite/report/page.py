"""The leaderboard as one HTML file: data, styles and scripts inside, no request to anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from saebench_lite.records.record import Record
from saebench_lite.records.verdicts import Verdicts
from saebench_lite.report.page_data import page_data
from saebench_lite.report.table import Table

ASSETS = Path(__file__).parent / "assets"

SCRIPTS = (
    "dom",
    "model",
    "state",
    "controls",
    "table",
    "plot",
    "scatter",
    "heat",
    "curve",
    "compare",
    "details",
    "export",
    "main",
)
"Stems of the scripts in the order in which they are joined."


def to_html(tables: Sequence[Table], records: Sequence[Record], verdicts: Verdicts) -> str:
    """A page that shows tables of a leaderboard; its content security policy allows nothing but what is in it.

    Args:
        tables: of a leaderboard, one a site.
        records: those that the tables were made of.
        verdicts: of the audit.
    """
    script = "\n".join(
        ['"use strict";', "(() => {", *((ASSETS / f"{stem}.js").read_text() for stem in SCRIPTS), "})();"]
    )
    style = (ASSETS / "page.css").read_text()
    text = (ASSETS / "page.html").read_text()
    parts = {
        "@POLICY@": f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none';"
        " form-action 'none'",
        "@STYLE@": style,
        "@SCRIPT@": script,
        "@DATA@": embedded(page_data(tables, records, verdicts)),
    }
    for mark, part in parts.items():
        before, after = text.split(mark)
        text = before + part + after
    return text


def embedded(value: object) -> str:
    """JSON that may stand inside a script element: ASCII, no `<`, `>` or `&`, no NaN."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _hash(source: str) -> str:
    """The source of a content security policy that allows one inline element."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
