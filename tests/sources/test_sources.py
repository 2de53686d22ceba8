"""Every source of outside data, from files made here; the sae-probes wheel is a small one of the same layout."""

import hashlib
import json
import zipfile

import numpy as np
import pandas as pd
import pytest

from saebench_lite import files, wheels
from saebench_lite.errors import SaebenchError
from saebench_lite.sources import axbench, hf, local, sae_probes


@pytest.fixture
def wheel(tmp_path):
    """The layout of the published wheel with three datasets."""
    rows = [(f"text {i}", i % 2) for i in range(30)] + [("text 0", 0), ("", 1)]
    path = tmp_path / "sae_probes-0.4.2-py3-none-any.whl"
    master = pd.DataFrame(
        {
            "Dataset save name": ["cleaned_data/9_b.csv", "cleaned_data/10_a x.csv", "cleaned_data/11_c.csv"],
            "Data type": ["Binary Classification", "Binary Classification", "Continuous Data"],
        }
    )
    frames = {
        "probing_datasets_MASTER": master,
        "cleaned_data/9_b": pd.DataFrame(rows, columns=["prompt", "target"]),
        "cleaned_data/10_a x": pd.DataFrame({"prompt": [f"p{i}" for i in range(40)], "target": ["yes", "no"] * 20}),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, frame in frames.items():
            local_file = tmp_path / "x.csv.zst"
            frame.to_csv(local_file, index=False)
            archive.write(local_file, f"sae_probes/data/{name}.csv.zst")
        archive.writestr("../../evil.csv.zst", b"x")
    return path


def unpacked(wheel):
    target = files.cache_root() / f"sae-probes-{sae_probes.VERSION}"
    target.parent.mkdir(parents=True, exist_ok=True)
    sha = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return wheels.unpacked(wheel, sha, target, sae_probes.unpack)


def test_sae_probes_from_the_wheel(wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("SAEBENCH_LITE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SaebenchError, match="run: saebench-lite data pull sae-probes"):
        sae_probes.load("", None)
    target = unpacked(wheel)
    assert not list(tmp_path.glob("evil*"))
    assert {p.parent for p in target.rglob("*.zst")} <= {target, target / "cleaned_data"}
    data = sae_probes.load("", None)
    assert [d.name for d in data.datasets] == ["9_b", "10_a x"]
    first, second = data.datasets
    assert len(first.rows) == 31  # the empty text is left out, the duplicate row stays
    assert len(first.corpus.texts) == 30
    assert data.notes == ("9_b: 1 empty texts left out",)
    assert second.positive.tolist() == [True, False] * 20  # "yes" sorts after "no"
    assert [d.name for d in sae_probes.load("10_*", None).datasets] == ["10_a x"]
    with pytest.raises(SaebenchError, match="no dataset '9_bb'; did you mean 9_b"):
        sae_probes.load("9_bb", None)


def test_sae_probes_refuses_another_wheel(wheel, tmp_path):
    with pytest.raises(SaebenchError, match="has SHA-256"):
        wheels.unpacked(wheel, sae_probes.SHA256, tmp_path / "t", sae_probes.unpack)


def write(path, frame: pd.DataFrame):
    {".csv": frame.to_csv, ".parquet": frame.to_parquet}[path.suffix](path, index=False)
    return str(path)


TWO = pd.DataFrame({"text": [f"t{i}" for i in range(6)], "label": ["a", "b"] * 3, "s": ["train"] * 4 + ["test"] * 2})


def test_local_tables(tmp_path):
    data = local.load(write(tmp_path / "x.csv", TWO) + "?split=s", None)
    (only,) = data.datasets
    assert (only.name, only.positive.tolist()) == ("x", [False, True] * 3)
    assert only.part is not None
    assert only.part.tolist() == ["train"] * 4 + ["test"] * 2
    three = pd.DataFrame({"text": [f"t{i}" for i in range(18)], "label": ["a", "b", "c"] * 6})
    many = local.load(write(tmp_path / "y.parquet", three), None)
    assert [d.name for d in many.datasets] == ["y: a", "y: b", "y: c"]
    assert len({id(d.corpus) for d in many.datasets}) == 1
    chosen = local.load(write(tmp_path / "y.parquet", three) + "?positive=b", None)
    assert chosen.datasets[0].positive.sum() == 6
    (tmp_path / "z.jsonl").write_text("\n".join(json.dumps({"q": t, "y": i % 2}) for i, t in enumerate("abcd")))
    assert len(local.load(f"{tmp_path / 'z.jsonl'}?text=q&label=y", None).datasets) == 1


@pytest.mark.parametrize(
    ("frame", "query", "sentence"),
    [
        (TWO, "?label=class", "no column 'class'; its columns are text, label, s"),
        (TWO.assign(label="a"), "", "only the label 'a'"),
        (TWO.assign(text=""), "", "no labels"),
        (TWO.assign(s="later"), "?split=s", "the part 'later'"),
        (TWO, "?positive=q", "no label 'q'"),
        (TWO, "?text", "option 'text' .* has no value"),
    ],
)
def test_local_errors(tmp_path, frame, query, sentence):
    with pytest.raises(SaebenchError, match=sentence):
        local.load(write(tmp_path / "x.csv", frame) + query, None)


def test_local_files_that_are_not_there(tmp_path):
    with pytest.raises(SaebenchError, match="there is no file"):
        local.load(str(tmp_path / "no.csv"), None)
    with pytest.raises(SaebenchError, match="not a kind of table"):
        local.load(str(tmp_path / "no.xlsx"), None)


def axbench_folder(tmp_path):
    def rows(concept, category, genre, tag, n):
        return [
            {"input": f"{tag}{i}?", "output": f"{tag} {concept} {i}", "category": category, "concept_id": concept,
             "concept_genre": genre} for i in range(n)
        ]  # fmt: skip

    train = rows(0, "positive", "text", "p", 4) + rows(1, "positive", "code", "q", 4)
    train += rows(-1, "negative", "text", "n", 5) + rows(-1, "negative", "code", "c", 3)
    test = rows(0, "positive", "text", "e", 2) + rows(0, "negative", "text", "f", 2)
    test += rows(0, "hard negative", "text", "h", 1) + rows(1, "positive", "code", "g", 2)
    test += rows(1, "negative", "code", "k", 2)
    pd.DataFrame(train).to_parquet(tmp_path / "train.parquet")
    pd.DataFrame(test).to_parquet(tmp_path / "eval.parquet")
    lines = [
        {"concept_id": c, "concept": f"concept {c}", "ref": f"https://x/y/{70 + c}",
         "concept_genres_map": {f"concept {c}": [genre]}} for c, genre in ((0, "text"), (1, "code"))
    ]  # fmt: skip
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path


def test_axbench_concepts(tmp_path):
    data = axbench.load(str(axbench_folder(tmp_path)), None)
    first, second = data.concepts
    assert first.named_latent == 70
    assert first.part is not None
    assert second.part is not None
    assert np.unique(first.part, return_counts=True)[1].tolist() == [1, 4, 9]  # hard, test, train
    assert (second.part == "train").sum() == 7  # negatives of its own genre only
    assert first.positive[first.part == "hard"].tolist() == [False]
    assert first.corpus.texts[first.rows[0]] == "p0?\np 0 0"
    with pytest.raises(SaebenchError, match="is no AxBench folder"):
        axbench.load(str(tmp_path / "no"), None)


def test_hub_dataset(monkeypatch):
    datasets = pytest.importorskip("datasets")
    asked = []

    def fake(name, config, *, split, revision):
        asked.append((name, config, split, revision))
        return datasets.Dataset.from_pandas(TWO[["text", "label"]])

    monkeypatch.setattr(datasets, "load_dataset", fake)
    data = hf.load("some/set@abc?test_split=test&config=c", None)
    assert asked == [("some/set", "c", "train", "abc"), ("some/set", "c", "test", "abc")]
    assert data.datasets[0].part is not None
    assert data.datasets[0].part.tolist() == ["train"] * 6 + ["test"] * 6
    with pytest.raises(SaebenchError, match="no column 'label2'"):
        hf.load("some/set?label=label2", None)

    for error, told in ((ConnectionError("offline"), "ConnectionError: offline"), (RuntimeError(), "RuntimeError")):

        def gone(*args, error=error, **kwargs):
            raise error

        monkeypatch.setattr(datasets, "load_dataset", gone)
        sentence = rf"dataset 'some/set' split 'train' cannot be loaded \({told}\)"
        with pytest.raises(SaebenchError, match=sentence):
            hf.load("some/set", None)
