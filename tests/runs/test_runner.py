"""Whole runs on the bundled model: resume, failures that stay alone, bad input, provenance."""

import gc
import os
import shutil
import signal
import subprocess
import sys
import textwrap

import pytest
import torch

import saebench_lite as sb
from saebench_lite.activations import pooling
from saebench_lite.api.settings import make_config
from saebench_lite.data.types import Corpus, Data, Labelled
from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import native
from saebench_lite.loading import open
from saebench_lite.records.record import Record, read_all
from saebench_lite.runs import setup, subjects
from saebench_lite.runs.runner import run
from saebench_lite.runs.setup import data_identity
from saebench_lite.tasks.sparse_probing import TASK as PROBING
from tests.conftest import HOOK

QUICK = {"reconstruction": {"max_tokens": 2000, "blocks": 4}}


def go(pico, concepts, saes, out=None, **kwargs):
    kwargs = {"tasks": ["reconstruction"], "baselines": [], "settings": QUICK} | kwargs
    return run(saes, model=pico, hook=HOOK, data=concepts, out=out, **kwargs)


class Diverges:
    """Conforms on the checker's inputs and breaks on real ones."""

    d_in, d_sae = 128, 4

    def encode(self, x):
        return torch.where(x.abs().amax(-1, keepdim=True) > 6, torch.nan, 1.0) * x[:, :4]

    def decode(self, f):
        return torch.nn.functional.pad(f, (0, 124))


class Raises(Diverges):
    def encode(self, x):
        if len(x) > 20:
            raise RuntimeError("out of luck")
        return x[:, :4]


def test_one_failing_sae_never_stops_the_others(pico, concepts, sae, tmp_path, caplog):
    saes = {
        "diverges": Diverges(),
        "good": sae,
        "raises": Raises(),
        "narrow": sb.AffineSAE(W_enc=torch.eye(5), W_dec=torch.eye(5)),
    }
    records = go(pico, concepts, saes, tmp_path)
    by_name = {r.subject.name: r for r in records}
    assert {n: r.status for n, r in by_name.items()} == {
        "diverges": "failed", "good": "ok", "raises": "failed", "narrow": "failed"
    }  # fmt: skip
    assert "reads 5 dimensions (d_in) but the hook point has 128" in (by_name["narrow"].reason or "")
    assert "RuntimeError: out of luck" in (by_name["raises"].reason or "")
    assert len(caplog.messages) == 3
    assert len(read_all(tmp_path)[0]) == 4
    table = sb.leaderboard(records).to_markdown()
    assert "failed (1)" in table


def test_what_exists_is_not_computed_again_but_failures_are(pico, concepts, sae, tmp_path, monkeypatch):
    first = go(pico, concepts, {"good": sae, "bad": Raises()}, tmp_path)
    calls = []
    task = setup.registry.get("tasks", "reconstruction")
    counting = sb.Task(task.card, task.config, task.prepare, lambda *a: calls.append(a[0].name) or task.evaluate(*a))
    real = setup.registry.get
    monkeypatch.setattr(
        setup.registry, "get", lambda kind, name: counting if name == "reconstruction" else real(kind, name)
    )
    second = go(pico, concepts, {"good": sae, "bad": Raises()}, tmp_path)
    assert calls == ["bad"]
    assert second[0] == first[0]
    go(pico, concepts, {"good": sae}, tmp_path, force=True)
    assert calls == ["bad", "good"]
    other = dict(sae.tensors) | {"b_dec": torch.ones(128)}
    go(pico, concepts, {"good": sb.AffineSAE(**other, **sae.settings())}, tmp_path)
    assert len(calls) == 3  # other weights under the same name are another subject


def test_damaged_record_is_computed_again(pico, concepts, sae, tmp_path, caplog):
    (record,) = go(pico, concepts, {"good": sae}, tmp_path)
    path = record.path(tmp_path)
    path.write_text(path.read_text()[:200])
    (again,) = go(pico, concepts, {"good": sae}, tmp_path)
    assert again.scores == record.scores
    assert "computed again" in caplog.messages[0]
    assert Record.load(path) == again


def test_killed_run_resumes(tmp_path):
    """kill -9 in the middle: finished records stay, nothing half-written, the rest is computed the next time."""
    script = f"""
        import sys, time
        from saebench_lite import registry, run
        from saebench_lite.bundled import sae_folders
        task = registry.get("tasks", "reconstruction")
        slow = sys.argv[1] == "slow"
        def evaluate(*a):
            print("evaluating", flush=True)
            if slow: time.sleep(0.5)
            return task.evaluate(*a)
        import dataclasses
        timed = dataclasses.replace(task, evaluate=evaluate)
        real = registry.get
        registry.get = lambda kind, name: timed if name == "reconstruction" else real(kind, name)
        run([str(f) for f in sae_folders()[:4]], model="pico", hook="{HOOK}", tasks=["reconstruction"], baselines=[],
            out={str(tmp_path)!r}, settings={{"reconstruction": {{"max_tokens": 1000}}}}, limit=2)
        """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    first = subprocess.Popen([*command, "slow"], stdout=subprocess.PIPE, text=True, env=os.environ.copy())
    assert first.stdout is not None
    for _ in range(3):
        first.stdout.readline()
    first.send_signal(signal.SIGKILL)
    first.wait()
    finished, complaints = read_all(tmp_path)
    assert complaints == []
    assert 1 <= len(finished) <= 3
    second = subprocess.run([*command, "fast"], capture_output=True, text=True, env=os.environ.copy())
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("evaluating") == 4 - len(finished)
    assert len(read_all(tmp_path)[0]) == 4


def test_order_and_company_do_not_change_a_score(pico, concepts, sae, tmp_path):
    kwargs = {"tasks": ["sparse_probing"], "settings": {"sparse_probing": {"ks": (1, 5)}}, "seeds": 2}
    other = sb.AffineSAE(W_enc=torch.eye(128), W_dec=torch.eye(128), activation="relu")
    together = go(pico, concepts, {"other": other, "mine": sae}, **kwargs)
    alone = go(pico, concepts, {"mine": sae}, **kwargs)
    assert together[1].scores == alone[0].scores
    assert together[1].digest == alone[0].digest
    assert alone[0].seeds == [42, 43]


def test_provenance(pico, concepts, sae):
    (record,) = go(pico, concepts, {"good": sae})
    assert record.provenance is not None
    assert record.provenance.packages["torch"] == torch.__version__
    assert record.site.hook == HOOK
    assert record.seeds == []  # reconstruction draws nothing


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({"tasks": ["reconstuction"]}, "did you mean reconstruction"),
        ({"settings": {"reconstruction": {"tokens": 3}}}, "has no setting 'tokens'"),
        ({"settings": {"absorption": {}}}, "not among the tasks"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"baselines": ["neuron"]}, "did you mean neurons"),
    ],
)
def test_bad_requests(pico, concepts, sae, kwargs, sentence):
    with pytest.raises(SaebenchError, match=sentence):
        go(pico, concepts, {"good": sae}, **kwargs)


def test_missing_hook_and_twin_names(pico, concepts, sae):
    with pytest.raises(SaebenchError, match=r"blocks\.9.* does not exist: the model has 5 blocks"):
        run({"good": sae}, model=pico, hook="blocks.9.hook_resid_post", data=concepts)
    with pytest.raises(SaebenchError, match="two subjects are called 'pca'"):
        go(pico, concepts, {"pca": sae}, baselines=["pca"])


def test_data_without_what_a_task_needs_is_not_applicable(pico, sae):
    data = Data("texts only", texts=(Corpus("c", ("one text", "another text")),))
    records = go(pico, data, {"good": sae}, tasks=["sparse_probing", "concept_detection"], settings={})
    assert [r.status for r in records] == ["not_applicable"] * 2
    assert records[0].reason == "data source 'texts only' has no labelled datasets"


def test_data_digest_moves_with_texts_labels_and_parts():
    import numpy as np

    def data(texts=("a", "b", "c"), yes=(True, False, True), part=None) -> Data:
        corpus = Corpus("c", texts)
        labelled = Labelled("d", corpus, np.arange(3), np.array(yes), None if part is None else np.array(part))
        return Data("x", datasets=(labelled,), texts=(corpus,))

    variants = [
        data(),
        data(texts=("a", "b", "d")),
        data(yes=(True, True, False)),
        data(part=["train", "test", "test"]),
    ]
    assert len({data_identity(v).digest for v in variants}) == 4
    assert data_identity(data()) == data_identity(data())


def test_config_is_frozen_and_plain():
    assert make_config(PROBING, {"ks": (1,)}).ks == (1,)
    with pytest.raises(SaebenchError, match="has no setting 'k'; it has context, dedupe, detector_poolings, ks"):
        make_config(PROBING, {"k": 1})


def test_one_sae_is_in_memory_at_a_time_and_its_codes_are_pooled_once_for_all_tasks(
    pico, concepts, tmp_path, monkeypatch
):
    for i in range(4):
        g = torch.Generator().manual_seed(i)
        w = torch.nn.functional.normalize(torch.randn(64, 128, generator=g))
        native.save(sb.AffineSAE(W_enc=w.T, W_dec=w), tmp_path / f"sae{i}")
    before_loading: list[int] = []
    texts: list[int] = []
    pool_chunk, load = pooling.pool_chunk, open.read

    def alive() -> int:
        gc.collect()
        return sum(type(o) is sb.AffineSAE for o in gc.get_objects())

    def counting(spec):
        before_loading.append(alive() - elsewhere)
        return load(spec)

    monkeypatch.setattr(subjects, "SMALL", 0)  # a control of some bytes stays
    monkeypatch.setattr(open, "read", counting)
    monkeypatch.setattr(pooling, "pool_chunk", lambda f, owner, n, how: texts.append(n) or pool_chunk(f, owner, n, how))
    elsewhere = alive()
    tasks = ["sparse_probing", "concept_detection"]
    specs = [f"native:{tmp_path}/sae{i}" for i in range(4)]
    records = go(pico, concepts, specs, tasks=tasks, seeds=1, baselines=["permuted_decoder"], settings={})
    assert [r.status for r in records] == ["ok"] * 10
    assert before_loading == [0] * 9  # each SAE to know it and to score it, with its control, and once to know that
    # one pass an SAE: each text three times, for mean, last and max
    assert sum(texts) == 5 * 3 * len(concepts.datasets[0].corpus.texts)


def test_an_sae_that_is_gone_when_its_turn_comes_fails_alone(pico, concepts, sae, tmp_path):
    for name in ("a", "b"):
        native.save(sae, tmp_path / name)

    class Removes:
        def update(self, stage, done, total):
            if stage == "evaluations" and done == 1:
                shutil.rmtree(tmp_path / "b")

    records = go(pico, concepts, [f"native:{tmp_path}/{n}" for n in ("a", "b")], progress=Removes())
    assert [r.status for r in records] == ["ok", "failed"]
