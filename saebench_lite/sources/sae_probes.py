"""The 113 yes/no datasets of sae-probes (Kantamneni et al., arXiv:2502.16681), out of its published wheel (MIT).

Formed as the package forms them: the first 5000 rows in file order, label 1 = the second value in sorted order, texts
cut on the left so that the last token is the text's own. Duplicate rows are kept here; tasks decide about them.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from saebench_lite import wheels
from saebench_lite.data.types import Corpus, Data, Labelled, Source
from saebench_lite.errors import SaebenchError
from saebench_lite.files import cache_root
from saebench_lite.sources._patterns import chosen_names

if TYPE_CHECKING:
    import pandas as pd

VERSION = "0.4.2"
SHA256 = "245700c8df310760e3d5b23d657ae5196489813f3012b55975057d8239d8be03"
MAX_ROWS = 5000
CONTEXT = 1024
PULL = "saebench-lite data pull sae-probes"


def folder() -> Path:
    """Where the pulled data lie; SaebenchError with the command if they do not."""
    path = cache_root() / f"sae-probes-{VERSION}"
    if not path.is_dir():
        raise SaebenchError(f"the sae-probes datasets are not on this machine; run: {PULL}")
    return path


def cleaned_data() -> Path:
    """Folder of the CSV files, one a dataset."""
    return folder() / "cleaned_data"


def pull() -> Path:
    """Folder of the CSV files, downloaded at the first call; SaebenchError if that fails or the checksum is another."""
    return wheels.pull(f"sae-probes=={VERSION}", SHA256, cache_root() / f"sae-probes-{VERSION}", unpack)


def unpack(wheel: Path, folder: Path) -> None:
    """Takes the CSV files out of the wheel: the list of datasets into `folder`, the datasets below it."""
    (folder / "cleaned_data").mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(".csv.zst"):
                place = folder / "cleaned_data" if Path(name).parent.name == "cleaned_data" else folder
                (place / Path(name).name).write_bytes(archive.read(name))


def task_names() -> list[str]:
    """The 113 dataset names, by their number."""
    master = _read(folder() / "probing_datasets_MASTER.csv.zst")
    binary = master[master["Data type"] == "Binary Classification"]["Dataset save name"]
    stems = [Path(str(name)).name.removesuffix(".csv") for name in binary]
    return sorted(stems, key=lambda s: int(s.split("_")[0]))


def load(where: str, limit: int | None) -> Data:
    """`where`: comma-separated names or patterns ("5_*,87_glue_cola"), all 113 if empty."""
    chosen = chosen_names(where, task_names(), "sae-probes")
    notes: list[str] = []
    datasets = tuple(_dataset(name, notes) for name in chosen[:limit])
    return Data("sae-probes", datasets=datasets, concepts=datasets, texts=tuple(d.corpus for d in datasets),
                notes=tuple(notes))  # fmt: skip


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path, keep_default_na=False)
    except ImportError as error:
        raise SaebenchError("reading sae-probes needs zstandard; install saebench-lite[data]") from error


def _dataset(name: str, notes: list[str]) -> Labelled:
    frame = _read(cleaned_data() / f"{name}.csv.zst").iloc[:MAX_ROWS]
    texts = frame["prompt"].astype(str)
    filled = (texts.str.strip() != "").to_numpy()
    if not filled.all():
        notes.append(f"{name}: {int((~filled).sum())} empty texts left out")
    classes, label = np.unique(frame["target"].to_numpy()[filled].astype(str), return_inverse=True)
    distinct = {text: i for i, text in enumerate(dict.fromkeys(texts[filled]))}
    corpus = Corpus(name, tuple(distinct), long_texts="cut_left", context=CONTEXT)
    rows = np.array([distinct[t] for t in texts[filled]])
    if len(classes) != 2:
        raise SaebenchError(f"dataset {name!r} has {len(classes)} classes, not 2: {', '.join(classes[:5])}")
    return Labelled(name, corpus, rows, label == 1)


SOURCE = Source(
    description="113 yes/no datasets of sae-probes; where: names or patterns, e.g. 87_glue_cola,5_*",
    load=load,
    pull=pull,
)
