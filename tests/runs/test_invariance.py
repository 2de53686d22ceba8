"""How the work is cut never moves a score: batches, chunks, memory, order of SAEs and tasks, shards.

Order and shards leave every digit alone. Batches and chunks move activations and codes in their last float32 digits
(another kernel, another padding), and with them every score by 1e-6 at most; a code that lies that close to its
threshold, or two texts whose scores differ by as little, could fall on the other side, which moves a score by one text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from saebench_lite.activations import pooled_codes, pooling
from saebench_lite.bundled import sae_folders
from saebench_lite.data.types import Corpus, Data, Labelled
from saebench_lite.loading.open import load
from saebench_lite.records.record import Record
from saebench_lite.runs import setup
from saebench_lite.runs.config import RunConfig
from saebench_lite.runs.sharding import Shard
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.protocol import SAE
from saebench_lite.tasks import ce_delta, reconstruction
from tests.conftest import HOOK

SETTINGS = {
    "reconstruction": {"max_tokens": 800, "blocks": 4},
    "ce_delta": {"max_tokens": 500, "context": 48, "blocks": 4},
    "sparse_probing": {"ks": (1, 5)},
    "concept_detection": {},
    "absorption": {"max_words": 400, "min_share": 0.0},
}
TEXTS = 48


@pytest.fixture(scope="module")
def data(concepts) -> Data:
    """Two concepts, few texts: those about it and others in turn."""
    few = []
    for labelled in concepts.concepts[:2]:
        yes, no = np.flatnonzero(labelled.positive), np.flatnonzero(~labelled.positive)
        rows = labelled.rows[np.concatenate([yes[: TEXTS // 2], no[: TEXTS // 2]])]
        corpus = Corpus(labelled.name, tuple(labelled.corpus.texts[i] for i in rows))
        few.append(Labelled(labelled.name, corpus, np.arange(len(rows)), np.arange(len(rows)) < TEXTS // 2))
    return Data("few", datasets=tuple(few), concepts=tuple(few), texts=tuple(c.corpus for c in few))


@pytest.fixture(scope="module")
def saes() -> dict[str, SAE]:
    """A trained top-k SAE, and a random one with thresholds; more latents than a shortlist holds."""
    g = torch.Generator().manual_seed(3)
    w = torch.nn.functional.normalize(torch.randn(300, 128, generator=g))
    jump = AffineSAE(W_enc=w.T, W_dec=w, activation="jumprelu", threshold=torch.full((300,), 0.3))
    return {"trained": load(str(sae_folders()[0])), "jump": jump}


def run(
    pico,
    data: Data,
    saes: dict[str, SAE],
    *,
    batch: int = 8192,
    memory: int = 1 << 30,
    tasks: Sequence[str] = (),
    shard: Shard | None = None,
) -> dict[str, Record]:
    """Records by digest."""
    config = RunConfig(
        hooks=(HOOK,),
        tasks=tuple(tasks or SETTINGS),
        settings=SETTINGS,
        baselines=("logistic", "random_topk"),
        seeds=2,
        memory=memory / 2**30,
        shard=shard,
    )
    ((job,),) = setup.set_up(config, setup.Live(saes=saes, model=pico, data=data))
    job.session.ctx.batch_tokens, job.session.ctx.cache = batch, None
    found = {}
    for record in job.scored():
        assert record.status == "ok", record.reason
        found[record.digest] = record
    return found


@pytest.fixture(scope="module")
def usual(pico, data, saes) -> dict[str, Record]:
    found = run(pico, data, saes)
    assert len(found) == 17  # three SAEs on five tasks, a probe on two of them
    return found


def furthest(a: dict[str, Record], b: dict[str, Record]) -> tuple[float, str]:
    """The largest difference of any metric on any unit and seed, and where."""
    assert a.keys() == b.keys()
    worst = (0.0, "")
    for key, record in a.items():
        assert record.per_unit.keys() == b[key].per_unit.keys()
        for metric, detail in record.per_unit.items():
            x, y = (np.array(d.values, dtype=float) for d in (detail, b[key].per_unit[metric]))
            gap = float(np.nanmax(np.abs(x - y) / np.maximum(1, np.abs(x))))
            worst = max(worst, (gap, f"{record.task.name} {metric} of {record.subject.name}"))
    return worst


@pytest.mark.parametrize("batch", [1, 300])
def test_batches_of_the_model_change_nothing(pico, data, saes, usual, batch):
    gap, where = furthest(usual, run(pico, data, saes, batch=batch))
    assert gap <= 1e-6, where


@pytest.mark.parametrize(("memory", "rows"), [(1 << 30, 7), (60_000, 64)])
def test_chunks_and_memory_change_nothing(pico, data, saes, usual, monkeypatch, memory, rows):
    for module in (pooling, pooled_codes, reconstruction, ce_delta):
        monkeypatch.setattr(module, "chunk_size", lambda *a, **k: rows)
    gap, where = furthest(usual, run(pico, data, saes, memory=memory))
    assert gap <= 1e-6, where


def test_order_of_saes_and_tasks_and_shards_change_nothing(pico, data, saes, usual):
    found: dict[str, Record] = {}
    for part in (3, 1, 2):
        some = run(pico, data, dict(reversed(saes.items())), tasks=list(SETTINGS)[::-1], shard=Shard(part, 3))
        assert not set(found) & set(some)
        found |= some
    gap, where = furthest(usual, found)
    assert gap == 0, where
