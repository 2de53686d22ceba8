"""What the scripts that train the bundled artefacts say to bad input."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from saebench_lite.activations.acts import Acts
from saebench_lite.errors import SaebenchError, as_sentence
from saebench_lite.recipes import pico as pico_recipe
from saebench_lite.recipes import train_sae
from saebench_lite.recipes.corpus import read_corpus

pd = pytest.importorskip("pandas")
pytest.importorskip("zstandard")


def corpus(folder: Path, rows: dict[str, list[str]]) -> Path:
    folder.mkdir()
    pd.DataFrame(rows).to_csv(folder / "one.csv.zst")
    return folder


def test_documents_are_distinct_and_told_apart_from_those_held_out(tmp_path: Path):
    folder = corpus(tmp_path / "c", {"prompt": [f"text {i % 40}" for i in range(80)] + [" "]})
    train, held_out = read_corpus(folder, seed=0, chars=10_000, held_out=0.1)
    assert (len(train), len(held_out)) == (36, 4)
    assert sorted(train + held_out) == sorted({f"text {i}" for i in range(40)})


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (None, "holds no prompts; saebench-lite data pull sae-probes fetches some"),
        ({"prompt": [" ", "  "]}, "holds no prompts"),
        ({"text": ["a"]}, "one.csv.zst cannot be read (ValueError: Usecols do not match"),
        ({"prompt": ["a few words"]}, "is too small: 1 documents make 0 rows of 256 tokens, 0 held out"),
    ],
)
def test_a_corpus_to_train_nothing_on_is_a_sentence(tmp_path: Path, rows, sentence, monkeypatch, capsys):
    """Tracebacks of tokenizers, random and pandas."""
    folder = tmp_path / "none" if rows is None else corpus(tmp_path / "c", rows)
    words = ["pico", "--corpus", str(folder), "--out", str(tmp_path / "out"), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended, as_sentence():
        pico_recipe.main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith("Error: ")
    assert sentence in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_recipe_of_the_saes_reads_the_same_corpus(tmp_path: Path, pico, monkeypatch):
    monkeypatch.setattr(train_sae, "cleaned_data", lambda: tmp_path / "none")
    with pytest.raises(SaebenchError, match="holds no prompts"):
        train_sae.training_acts(pico, "blocks.2.hook_resid_post", 1000, 0.05)


def test_few_tokens_read_few_documents(pico, monkeypatch):
    """One document of fifty tokens serves a demand of thirty; for many tokens a thousand are read at a time."""
    read = []

    def tokenize(texts, **_):
        read.append(len(texts))
        return [[1] * 50] * len(texts)

    documents = [f"document {i}" for i in range(3000)]
    monkeypatch.setattr(train_sae, "cleaned_data", lambda: None)
    monkeypatch.setattr(train_sae, "read_corpus", lambda *_, **__: (list(documents), []))
    monkeypatch.setattr(train_sae, "collect", lambda *_: (Acts(torch.zeros(4, 2), torch.tensor([0, 4])), None))
    monkeypatch.setattr(pico, "tokenize", tokenize)
    monkeypatch.setattr(pico, "real_lengths", lambda ids: [len(row) for row in ids])
    for tokens, batches in ((30, [1]), (400_000, [1000, 1000, 1000])):
        read.clear()
        train_sae.training_acts(pico, "blocks.2.hook_resid_post", tokens, 0.0)
        assert read == batches
