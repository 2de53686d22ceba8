"""The rows of the CSV as a Parquet file with typed columns. Needs the extra `data`."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from saebench_lite.errors import SaebenchError
from saebench_lite.files import atomic_path
from saebench_lite.report.rows import Cell

WHOLE = (
    "version",
    "n",
    "above_control",
    "rank_low",
    "rank_high",
    "tied_with_best",
    "better_than",
    "likely_better_than",
)
"Columns of whole numbers."
REAL = ("value", "low", "high", "reseed_sd", "cv", "mrd", "calibrated", "calibrated_low", "calibrated_high")
"Columns of numbers; all others are texts."


def write_parquet(rows: Sequence[dict[str, Cell]], out: Path) -> None:
    """Writes rows in one step, null where there is no value; SaebenchError without pyarrow.

    Half of a surrogate pair in a text, which UTF-8 cannot hold, is spelt out.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise SaebenchError("format parquet needs pyarrow; install it with pip install 'saebench-lite[data]'")
    import pyarrow as pa
    from pyarrow import parquet

    types = {name: pa.int64() if name in WHOLE else pa.float64() if name in REAL else pa.string() for name in rows[0]}
    plain = [{name: _encodable(cell) for name, cell in row.items()} for row in rows]
    table = pa.Table.from_pylist(plain, schema=pa.schema(list(types.items())))
    with atomic_path(out) as partial:
        parquet.write_table(table, partial)


def _encodable(cell: Cell) -> Cell:
    return cell.encode("utf-8", "backslashreplace").decode() if isinstance(cell, str) else cell
