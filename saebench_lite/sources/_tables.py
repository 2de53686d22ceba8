"""Files of rows as columns of plain values: CSV, TSV, JSON, JSON lines, Parquet; the text ones gzipped too.

Nothing is guessed about a value: what a CSV file holds stays text ("00042" is no number). A row that does not have as
many fields as the header, or a quotation mark that never closes, is refused with its line instead of shifting columns
or swallowing rows.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from saebench_lite.errors import SaebenchError

if TYPE_CHECKING:
    import pandas as pd


class Table(dict[str, list[object]]):
    """Columns by name, all of one length."""

    lines: Sequence[int] | None = None
    "The line of the file on which each row begins, from 1; None where rows are not lines."

    def place(self, row: int) -> str:
        """What a message calls a row: `line 5`, or `row 3`, counted from 0."""
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"


ENDINGS = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
"Byte order marks and the encodings they announce."
FIELD_LIMIT = 1 << 24
"Characters of one field at most."


def read_table(path: Path) -> Table:
    """Columns of a table by its ending, in upper or lower case, ".gz" after it or not."""
    ending = path.with_suffix("").suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    if ending not in ENDINGS:
        raise SaebenchError(f"{path} is not a kind of table that is read; give one of {', '.join(ENDINGS)}")
    if ending == ".parquet":
        frame = read_parquet(path)
        return Table({str(name): frame[name].tolist() for name in frame.columns})
    text = decoded(path)
    if ending == ".json":
        return _from_json(_parsed(text, path.name), path.name)
    if ending in (".jsonl", ".ndjson"):
        lines = {i: line for i, line in enumerate(text.split("\n"), 1) if line.strip()}
        table = _from_json([_parsed(line, f"{path.name} line {i}") for i, line in lines.items()], path.name)
        table.lines = list(lines)
        return table
    return _from_csv(text, path.name, ending)


def read_parquet(path: Path) -> pd.DataFrame:
    """A Parquet file; SaebenchError if it is none or the extra is missing."""
    import pandas as pd

    if not path.is_file():
        raise SaebenchError(f"there is no file {path}; check the path")
    try:
        return pd.read_parquet(path)
    except ImportError as error:
        raise SaebenchError(f"reading {path.name} needs pyarrow; install saebench-lite[data]") from error
    except (ValueError, OSError) as error:
        raise SaebenchError(f"{path} cannot be read ({error})") from error


def column(table: Mapping[str, list[object]], name: str, what: str) -> list[object]:
    """A column by name; SaebenchError that lists the columns there are."""
    if name not in table:
        raise SaebenchError(f"{what} has no column {name!r}; its columns are {', '.join(table)}")
    return table[name]


def options(where: str, known: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """`place?key=value&key=value` as place and dict. A value may hold "&"; a key that is not known is refused."""
    place, _, query = where.partition("?")
    chosen: dict[str, str] = {}
    last = ""
    for item in query.split("&") if query else ():
        key, equals, value = item.partition("=")
        if equals:
            last = key
            chosen[key] = value
        elif last and item:
            chosen[last] += "&" + item
        elif item:
            raise SaebenchError(f"option {item!r} of {where!r} has no value; write key=value")
    for key in chosen:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
            raise SaebenchError(f"option {key!r} of {where!r} is not known; {hint}")
    return place, chosen


def decoded(path: Path) -> str:
    """The text of a file, UTF-8 or with a byte order mark, gzipped or not."""
    if not path.is_file():
        raise SaebenchError(f"there is no file {path}; check the path")
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix.lower() == ".gz" else path.read_bytes()
        encoding = next((name for mark, name in MARKS if raw.startswith(mark)), "utf-8")
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise SaebenchError(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except (OSError, EOFError) as error:
        raise SaebenchError(f"{path} cannot be read ({error})") from error


def _parsed(text: str, what: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SaebenchError(f"{what} is not JSON ({type(error).__name__}: {error})") from error


def _from_json(rows: object, name: str) -> Table:
    """Columns of a list of objects; a key that a row lacks is None there."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SaebenchError(f"{name} holds no rows; write one JSON object a row, such as {{'text': '..', 'label': 1}}")
    objects = cast("list[dict[str, object]]", rows)
    names = dict.fromkeys(key for row in objects for key in row)
    return Table({key: [row.get(key) for row in objects] for key in names})


def _from_csv(text: str, name: str, ending: str) -> Table:
    header = text.split("\n", 1)[0]
    separator = "\t" if ending == ".tsv" else "," if "," in header else ";" if ";" in header else ","
    rows = _unquoted(text, separator) if ending == ".tsv" else None
    rows = list(_quoted(text, separator, name)) if rows is None else rows
    if not rows:
        raise SaebenchError(f"{name} is empty; its first line must name the columns")
    names = rows[0][1]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise SaebenchError(f"{name} has two columns called {twice[0]!r}; rename one")
    for line, fields in rows[1:]:
        if len(fields) != len(names):
            raise SaebenchError(
                f"{name} line {line} has {len(fields)} fields where the header has {len(names)};"
                f" put a text that holds {separator!r} in quotation marks"
            )
    table = Table({n: [fields[i] for _, fields in rows[1:]] for i, n in enumerate(names)})
    table.lines = [line for line, _ in rows[1:]]
    return table


def _unquoted(text: str, separator: str) -> list[tuple[int, list[str]]] | None:
    """(line, fields) of a file in which quotation marks mean nothing; None if its rows are of different lengths then.

    That is how tab-separated files are mostly written (GLUE, tweets): a lone quotation mark belongs to its text.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    rows = [(i, line.split(separator)) for i, line in enumerate(lines, 1) if line.strip()]
    regular = len({len(fields) for _, fields in rows}) == 1
    wrapped = all(f[:1] == f[-1:] == '"' for _, fields in rows[1:] for f in fields if separator in text and '"' in f)
    return rows if regular and not (wrapped and '"' in text) else None


def _quoted(text: str, separator: str, name: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(FIELD_LIMIT)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    start = 1
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise SaebenchError(
                f"{name} cannot be read from line {start} on ({error}); double each quotation mark inside a quoted text"
            ) from error
        if fields:
            yield start, fields
        start = reader.line_num + 1
