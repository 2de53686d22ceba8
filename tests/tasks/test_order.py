"""Tasks know nothing of each other: any order gives the same records, warnings included, and codes are pooled once."""

import dataclasses

import numpy as np
import pytest
import torch

from saebench_lite.activations import pooling
from saebench_lite.activations.pooled_codes import Pooled
from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext, PoolingRequest
from saebench_lite.api.task import Scores, Task
from saebench_lite.data.types import Corpus, Data, Labelled
from saebench_lite.progress import logger
from saebench_lite.records.metric import Metric
from saebench_lite.records.types import DataInfo
from saebench_lite.runs import evaluate
from saebench_lite.runs.evaluate import Session
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.tasks import concept_detection, reconstruction, sparse_probing
from tests.conftest import HOOK
from tests.helpers.planted_world import subject

FEW = DataInfo(name="few", digest="d", datasets=1, concepts=1, corpora=1)

CONFIGS = {
    "reconstruction": (reconstruction.TASK, reconstruction.Config(max_tokens=400, blocks=2)),
    "sparse_probing": (sparse_probing.TASK, sparse_probing.Config(ks=(1, 5))),
    "concept_detection": (concept_detection.TASK, concept_detection.Config()),
}


@pytest.fixture(scope="module")
def data(concepts) -> Data:
    """One concept's texts, so long that the model's context cuts them, and a corpus that only one task reads."""
    labelled = concepts.concepts[0]
    texts = tuple(labelled.corpus.texts[i] for i in labelled.rows[:40])
    corpus = Corpus("few", texts, context=8)
    few = Labelled("few", corpus, np.arange(40), np.arange(40) % 2 == 0)
    return Data("few", datasets=(few,), concepts=(few,), texts=(Corpus("other", texts[:9], context=6),), notes=("old",))


def notes_of(record):
    assert record.provenance is not None
    return record.provenance.notes


def records(pico, data, sae, names):
    """Records of one SAE by task."""
    ctx = EvalContext(pico, HOOK, data)
    session = Session(ctx, FEW, None, False)
    ready = [session.prepare(task, config, [42]) for task, config in (CONFIGS[n] for n in names)]
    who = subject(sae)
    return {r.task.card.name: session.evaluate(who, session.draft(r.task, r.config, who, [42]), r) for r in ready}


def test_any_order_gives_the_same_records_and_warnings(pico, data, sae):
    names = list(CONFIGS)
    first, second = records(pico, data, sae, names), records(pico, data, sae, names[::-1])
    for name in names:
        assert first[name].status == "ok", first[name].reason
        assert dataclasses.replace(first[name], provenance=second[name].provenance) == second[name]
        assert notes_of(first[name]) == notes_of(second[name])
    notes = {name: notes_of(first[name]) for name in names}
    assert all(n[0] == "old" for n in notes.values())
    assert any("other" in n for n in notes["reconstruction"])
    assert not any("other" in n for n in notes["sparse_probing"])  # what another task read is not its warning
    assert not any("few" in n for n in notes["reconstruction"])
    assert notes["sparse_probing"][1:] == notes["concept_detection"][1:] != []


def test_memory_that_runs_out_is_in_the_record_of_each_task_that_reads_the_codes(pico, data, sae, monkeypatch):
    """Also of the second task, which encodes nothing itself, and whether or not the logger is silenced."""
    sentence, real = "memory ran out while encoding; smaller chunks were used", AffineSAE.encode_sparse

    def short(self, x):
        if len(x) > 64:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, x)

    want = records(pico, data, sae, ["sparse_probing", "concept_detection"])
    monkeypatch.setattr(AffineSAE, "encode_sparse", short)
    monkeypatch.setattr(pooling, "chunk_size", lambda *a: 128)
    monkeypatch.setattr(logger, "disabled", True)
    for names in (["sparse_probing", "concept_detection"], ["concept_detection", "sparse_probing"]):
        for name, record in records(pico, data, sae, names).items():
            assert record.status == "ok", record.reason
            assert notes_of(record) == [*notes_of(want[name]), sentence]


def test_one_pass_serves_all_tasks_that_declare_what_they_want(pico, data, sae, monkeypatch):
    rows, real = [], AffineSAE.encode_sparse
    monkeypatch.setattr(AffineSAE, "encode_sparse", lambda self, x: rows.append(len(x)) or real(self, x))
    for names in (["concept_detection", "sparse_probing"], ["sparse_probing", "concept_detection"]):
        rows.clear()
        records(pico, data, sae, names)
        assert sum(rows) == EvalContext(pico, HOOK, data).acts(data.datasets[0].corpus).tokens


def test_reconstruction_reads_the_codes_that_are_pooled(pico, data, sae, monkeypatch):
    """Where it asks for all of the corpus; the scores are those of codes of its own."""
    same = dataclasses.replace(data, texts=(data.datasets[0].corpus,))
    tokens = EvalContext(pico, HOOK, same).acts(same.texts[0]).tokens
    monkeypatch.setitem(CONFIGS, "reconstruction", (reconstruction.TASK, reconstruction.Config(max_tokens=tokens)))
    rows, real = [], AffineSAE.encode_sparse
    monkeypatch.setattr(AffineSAE, "encode_sparse", lambda self, x: rows.append(len(x)) or real(self, x))
    found = []
    for names in (["reconstruction", "sparse_probing"], ["sparse_probing", "reconstruction"], ["reconstruction"]):
        rows.clear()
        found.append(records(pico, same, sae, names)["reconstruction"].scores)
        assert sum(rows) == tokens
    assert found[0] == found[1] == found[2]
    monkeypatch.setattr(Pooled, "codes", lambda self: None)
    alone = records(pico, same, sae, ["reconstruction"])["reconstruction"].scores
    assert {m: s.value for m, s in alone.items()} == pytest.approx({m: s.value for m, s in found[0].items()}, rel=1e-6)


def test_a_plugins_task_may_declare_poolings_and_keeps_its_warnings(pico, data, sae, monkeypatch):
    monkeypatch.setattr(evaluate.registry, "owner", lambda kind, name: ("somewhere", "1"))

    def score(who, ctx, prepared, cfg, seeds):
        out = Scores()
        out.add("n", len(ctx.pooled(who.sae, data.texts[0], ("mean",)).poolings), unit="all")
        ctx.note("of one task")
        return out

    card = Card(
        name="theirs", version=1, description="d", source="s", headline=("n",), seeded=False,
        metrics=(Metric(name="n", meaning="poolings made", better="neither"),),
    )  # fmt: skip
    config = dataclasses.make_dataclass("Config", [], frozen=True)
    alone = Task(card, config, lambda ctx, cfg, seeds: None, score)
    request = PoolingRequest(data.texts[0], ("last", "max"))
    beside = dataclasses.replace(alone, pooling_requests=lambda ctx, cfg: [request])
    for tasks, poolings in (([alone], 1), ([alone, beside], 3)):
        ctx = EvalContext(pico, HOOK, data)
        session = Session(ctx, FEW, None, False)
        ready = [session.prepare(t, config(), []) for t in tasks]
        who = subject(sae)
        found = [session.evaluate(who, session.draft(r.task, r.config, who, []), r) for r in ready]
        assert found[0].scores["n"].value == poolings
        assert [notes_of(r).count("of one task") for r in found] == [1] * len(found)
        assert ctx.notes == ["old"]
