"""Tables of texts and labels to yes/no datasets; shared by the sources that read files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saebench_lite.data.types import Corpus, Data, Labelled
from saebench_lite.errors import SaebenchError

if TYPE_CHECKING:
    import pandas as pd


def read_table(path: Path) -> pd.DataFrame:
    """A CSV, TSV, JSONL or Parquet file by its ending."""
    import pandas as pd

    readers: dict[str, Any] = {
        ".csv": lambda p: pd.read_csv(p, keep_default_na=False),
        ".tsv": lambda p: pd.read_csv(p, sep="\t", keep_default_na=False),
        ".jsonl": lambda p: pd.read_json(p, lines=True, dtype=False),  # type: ignore[arg-type]  # pandas-stubs want True
        ".parquet": pd.read_parquet,
    }
    if path.suffix not in readers:
        raise SaebenchError(f"{path} is not a kind of table that is read; give one of {', '.join(readers)}")
    if not path.is_file():
        raise SaebenchError(f"there is no file {path}; check the path")
    try:
        return readers[path.suffix](path)
    except ImportError as error:
        raise SaebenchError(f"reading {path.name} needs pyarrow; install saebench-lite[data]") from error
    except (ValueError, OSError) as error:
        raise SaebenchError(f"{path} cannot be read ({error})") from error


def options(where: str) -> tuple[str, dict[str, str]]:
    """`place?key=value&key=value` as place and dict."""
    place, _, query = where.partition("?")
    pairs = [item.partition("=") for item in query.split("&") if item]
    if bad := [key for key, equals, _ in pairs if not equals]:
        raise SaebenchError(f"option {bad[0]!r} of {where!r} has no value; write key=value")
    return place, {key: value for key, _, value in pairs}


def column(frame: Any, name: str, what: str) -> Any:
    """A column by name; SaebenchError that lists the columns there are."""
    if name not in frame.columns:
        raise SaebenchError(f"{what} has no column {name!r}; its columns are {', '.join(map(str, frame.columns))}")
    return frame[name]


def one_against_rest(
    name: str, texts: list[str], labels: list[Any], part: np.ndarray | None, limit: int | None, positive: str | None
) -> Data:
    """Yes/no datasets of labelled texts: one for two classes, one a class for more, the texts read once.

    Args:
        name: of the dataset.
        texts: one a row.
        labels: one a row.
        part: "train" or "test" of each row, or None.
        limit: datasets at most.
        positive: the only label to ask about, or None for all.
    """
    distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    corpus = Corpus(name, tuple(distinct))
    rows = np.array([distinct[t] for t in texts])
    owner = np.array([str(label) for label in labels])
    classes = sorted(set(owner.tolist()))
    if len(classes) < 2:
        raise SaebenchError(f"{name} has only the label {classes[0]!r}; a probe needs at least two classes")
    if positive is not None and positive not in classes:
        raise SaebenchError(f"{name} has no label {positive!r}; its labels are {', '.join(classes[:20])}")
    chosen = [positive] if positive else classes[1:] if len(classes) == 2 else classes
    labelled = tuple(
        Labelled(name if len(chosen) == 1 else f"{name}: {c}", corpus, rows, owner == c, part) for c in chosen[:limit]
    )
    return Data(name, datasets=labelled, concepts=labelled, texts=(corpus,))


def parts(values: list[Any], name: str) -> np.ndarray:
    """Train/test marks; anything else is refused."""
    marks = np.array([str(v) for v in values])
    if odd := sorted(set(marks.tolist()) - {"train", "test"}):
        raise SaebenchError(f"{name} has the part {odd[0]!r}; only train and test are known")
    return marks
