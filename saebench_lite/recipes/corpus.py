"""Texts of a folder of tables, which pico and its SAEs are trained on."""

from __future__ import annotations

import random
from pathlib import Path

from saebench_lite.errors import SaebenchError, reason


def read_corpus(folder: Path, *, seed: int, chars: int, held_out: float) -> tuple[list[str], list[str]]:
    """Distinct prompts of every dataset in `folder`, shuffled, as (training, held-out) documents.

    SaebenchError where there are none, or a file cannot be read.

    Args:
        folder: of files `*.csv.zst` with a column `prompt`.
        seed: of the shuffles.
        chars: that one dataset contributes at most.
        held_out: share of the documents that is held out.
    """
    import pandas as pd

    rng = random.Random(seed)
    seen: set[str] = set()
    documents: list[str] = []
    for path in sorted(folder.glob("*.csv.zst")):
        try:
            frame = pd.read_csv(path, usecols=["prompt"])
        except ImportError as error:
            raise SaebenchError("reading the corpus needs zstandard; install saebench-lite[data]") from error
        except Exception as error:  # pandas and zstandard have exceptions of their own
            raise SaebenchError(
                f"{path} cannot be read ({reason(error)}); give a table with a column prompt"
            ) from error
        prompts = [str(p).strip() for p in frame["prompt"]]
        rng.shuffle(prompts)
        budget = chars
        for prompt in prompts:
            if prompt and prompt not in seen and budget > 0:
                seen.add(prompt)
                documents.append(prompt[:4000])
                budget -= len(documents[-1])
    if not documents:
        raise SaebenchError(f"{folder} holds no prompts; saebench-lite data pull sae-probes fetches some")
    rng.shuffle(documents)
    cut = int(len(documents) * held_out)
    return documents[cut:], documents[:cut]
