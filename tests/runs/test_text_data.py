"""Texts for reconstruction and CE loss that are not those of the labelled data."""

import dataclasses
from typing import Any

import pytest

import saebench_lite as sb
from saebench_lite.data.types import Data
from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import native
from saebench_lite.runs.config import RunConfig
from saebench_lite.runs.live import Live
from saebench_lite.runs.setup import data_identity, load_data, set_up, with_texts
from saebench_lite.runs.top_texts import asked_for
from tests.conftest import HOOK


@pytest.fixture
def files(tmp_path):
    """A labelled table, and a file of texts."""
    rows = [f"the {'cat sat' if i % 2 else 'dog ran'} {i},{i % 2}" for i in range(40)]
    (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *rows]))
    (tmp_path / "texts.txt").write_text("\n".join(f"It was a bright cold day, number {i}." for i in range(60)))
    return f"local:{tmp_path}/reviews.csv", f"local:{tmp_path}/texts.txt"


def test_labels_stay_and_texts_are_others(files):
    labelled, texts = files
    data = load_data([labelled])
    assert with_texts(data, None) is data
    both = with_texts(data, [texts])
    assert (both.datasets, both.concepts) == (data.datasets, data.concepts)
    assert both.texts == load_data([texts]).texts
    assert both.name == "reviews, texts of texts"
    assert data_identity(both).digest != data_identity(data).digest
    assert with_texts(data, [texts, "bundled"]).texts == load_data([texts, "bundled"]).texts


def test_texts_that_are_none_are_a_sentence(files, monkeypatch):
    monkeypatch.setattr("saebench_lite.runs.setup.load_data", lambda *a: Data("x"))
    with pytest.raises(SaebenchError, match="text_data local:x holds no texts for reconstruction; name another source"):
        with_texts(Data("y"), ["local:x"])


def test_remarks_on_the_data_are_told_before_the_work(few_texts, pico, sae, caplog):
    caplog.set_level("INFO", "saebench_lite")
    data = dataclasses.replace(few_texts, notes=tuple(f"rows left out: {i}" for i in range(7)))
    config = RunConfig(saes=(), tasks=("reconstruction",), baselines=())
    next(set_up(config, Live(saes={"a": sae}, data=data, model=pico)))
    told = [f"rows left out: {i}" for i in range(5)] + ["2 more remarks on the data stand in the records"]
    assert caplog.messages[:6] == told


def test_a_run_scores_each_task_on_its_data(files, sae, pico, tmp_path):
    labelled, texts = files
    kwargs: dict[str, Any] = {"model": "pico", "hook": HOOK, "baselines": [], "seeds": 1, "out": tmp_path / "out"}
    kwargs["settings"] = {"reconstruction": {"max_tokens": 300, "blocks": 4}, "sparse_probing": {"ks": (1,)}}
    native.save(sae, tmp_path / "sae")
    specs, tasks = str(tmp_path / "sae"), ["sparse_probing", "reconstruction"]
    ours = {r.task.name: r for r in sb.run(specs, data=labelled, text_data=texts, tasks=tasks, **kwargs)}
    theirs = sb.run(specs, data=labelled, tasks=tasks, **kwargs)
    del kwargs["settings"]["sparse_probing"]
    alone = sb.run(specs, data=texts, tasks="reconstruction", **kwargs)
    assert ours["reconstruction"].scores == alone[0].scores
    assert ours["reconstruction"].scores != theirs[1].scores
    assert ours["sparse_probing"].scores == theirs[0].scores
    config = RunConfig.from_file(tmp_path / "out" / "run.yaml")
    assert config.text_data == (texts,)
    asked = asked_for(ours["sparse_probing"], tmp_path / "out", None, None, None)
    loaded = with_texts(load_data(asked.data, asked.limit), asked.text_data, asked.limit)
    assert data_identity(loaded) == ours["sparse_probing"].data
