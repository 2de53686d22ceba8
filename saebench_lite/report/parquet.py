"""The rows of the CSV as a Parquet file with typed columns. Needs the extra `data`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from saebench_lite.errors import require
from saebench_lite.files import atomic_path
from saebench_lite.report.rows import TYPES, Cell


def write_parquet(rows: Sequence[dict[str, Cell]], out: Path) -> None:
    """Writes rows in one step, null where there is no value; SaebenchError without pyarrow.

    Half of a surrogate pair in a text, which UTF-8 cannot hold, is spelt out.
    """
    require("format parquet", "pyarrow", "data")
    import pyarrow as pa
    from pyarrow import parquet

    arrow = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    types = {name: arrow[TYPES.get(name, str)] for name in rows[0]}
    plain = [{name: _encodable(cell) for name, cell in row.items()} for row in rows]
    table = pa.Table.from_pylist(plain, schema=pa.schema(list(types.items())))
    with atomic_path(out) as partial:
        parquet.write_table(table, partial)


def _encodable(cell: Cell) -> Cell:
    return cell.encode("utf-8", "backslashreplace").decode() if isinstance(cell, str) else cell
