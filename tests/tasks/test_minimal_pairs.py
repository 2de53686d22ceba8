"""The task on a world whose features are known and on pairs made for it: sources, figures by hand, invariance."""

import dataclasses
import json
import tarfile
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from saebench_lite import registry
from saebench_lite.activations.acts import Acts
from saebench_lite.api.context import EvalContext
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.tasks import minimal_pairs
from saebench_lite.tasks._minimal_pairs_sample import Attribute
from saebench_lite.tasks._minimal_pairs_sources import Activated, activated
from saebench_lite.tasks._minimal_pairs_texts import own_sample
from saebench_lite.worlds.concepts import build
from saebench_lite.worlds.model import WorldModel
from tests.helpers import tiny_ravel
from tests.helpers.planted_world import subject, values

TASK = registry.get("tasks", "minimal_pairs")
SMALL = TASK.config(attributes=8, pairs_each=10, untrained=1)


@pytest.fixture(scope="module")
def planted():
    lm = WorldModel.load("tiny")
    return EvalContext(lm, "world", build(lm, 512))


@pytest.fixture
def texts_of(monkeypatch):
    """(path, sizes) -> the sample that a site would read, without a model."""
    seen = []

    def read(path, sizes=(60, 12, 67), seed=42):
        nothing = Acts(torch.zeros(0, 1), torch.zeros(1, dtype=torch.long))
        ctx: Any = SimpleNamespace(lm=object(), acts=lambda corpus: seen.append(corpus) or nothing)
        return activated(ctx, path, sizes, seed), seen[-1].texts

    return read


def test_the_oracle_is_perfect_and_random_directions_are_no_better_than_themselves(planted):
    oracle = values(TASK, subject(registry.get("baselines", "oracle").make(planted, 42)), planted, SMALL)
    assert (oracle["match"], oracle["match_one"], oracle["tapa"], oracle["leakage"]) == (1, 1, 1, 0)
    random = values(TASK, subject(registry.get("baselines", "random_topk").make(planted, 42)), planted, SMALL)
    assert oracle["match_above_untrained"] > 0.4 > abs(random["match_above_untrained"]) + 0.2
    assert oracle["tapa_above_untrained"] > 0.4 > abs(random["tapa_above_untrained"]) + 0.15
    assert random["leakage"] > 0


def test_what_stands_above_untrained_is_the_difference_to_the_mean_of_its_draws(planted):
    sae = registry.get("baselines", "random_topk").make(planted, 42)
    few = dataclasses.replace(SMALL, match_texts=60, attributes=3)
    of = {n: values(TASK, subject(sae), planted, dataclasses.replace(few, untrained=n), (42,)) for n in (1, 2)}
    for got in of.values():
        for name in ("match", "tapa"):
            assert got[f"{name}_above_untrained"] == pytest.approx(got[name] - got[f"{name}_untrained"])
    assert of[1]["match"] == of[2]["match"]
    assert of[1]["match_untrained"] != of[2]["match_untrained"]


def test_an_sae_that_never_fires_scores_nothing(planted):
    w = torch.eye(planted.d_in)
    silent = AffineSAE(W_enc=w, W_dec=w, b_enc=torch.full((planted.d_in,), -1e4), activation="relu")
    got = values(TASK, subject(silent), planted, SMALL)
    assert (got["match"], got["tapa"], got["leakage"]) == (0, 0, 0)


def test_order_and_scale_of_latents_and_memory_do_not_matter(planted):
    g = torch.Generator().manual_seed(0)
    w = torch.randn(48, planted.d_in, generator=g)
    before = values(TASK, subject(AffineSAE(W_enc=w.T, W_dec=w, activation="topk", k=4)), planted, SMALL)
    assert before["leakage"] > 0
    for w_enc, ties in ((w.flip(0), 0.02), (4 * w, 0.0)):  # of latents that match alike the first is taken
        after = values(TASK, subject(AffineSAE(W_enc=w_enc.T, W_dec=w, activation="topk", k=4)), planted, SMALL)
        for name in ("match", "match_one", "tapa", "leakage"):
            assert after[name] == pytest.approx(before[name], abs=ties)


def test_figures_by_hand(planted):
    """Two attributes, one of two values and one of presence; latent j is coordinate j."""
    matching = [[1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 1, 1]]  # latent 0: the first value, 1: the second, 2: presence
    pairs = [[1, 0, 0], [0, 1, 0], [1, 0, 1], [1, 1, 1], [1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 0, 0]]
    rows = torch.tensor(matching + pairs).float()
    labels = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [0, 0], [1, 0], [0, 1], [1, 1], [0, 0], [0, 1], [1, 0], [1, -1]])
    sample = Activated(
        Acts(rows, torch.arange(13)),
        (Attribute("a", ("x", "y")), Attribute("b", ("", "there"))),
        labels,
        np.arange(4),
        np.array([[4, 5], [6, 7], [8, 9], [10, 11]]),
    )
    eye = torch.eye(3)
    out = minimal_pairs._figures(AffineSAE(W_enc=eye, W_dec=eye, activation="relu"), sample, 1 << 20)
    assert out[0] == {"a: x": [0], "a: y": [1], "b: there": [2]}
    first, second = out[1]
    judged = rows[4:].numpy() > 0
    expected = [f1_score(labels[4:, 0] == v, judged[:, v]) for v in (0, 1)]
    assert first["match"] == first["match_one"] == pytest.approx(np.mean(expected))
    assert second["match"] == pytest.approx(f1_score(labels[4:11, 1] == 1, judged[:7, 2]))
    assert first["tapa"] == pytest.approx((2 + 1) / 2)  # the second pair keeps the old value's latent on
    assert first["leakage"] == 0
    assert second["tapa"] == 1
    assert second["leakage"] == 0


def test_own_pairs_differ_in_one_attribute_and_share_no_words_with_what_is_matched():
    sample = own_sample(200, 20, np.random.default_rng(0))
    labels, texts = sample.labels, sample.texts
    assert len(set(texts)) == len(texts)
    differ = labels[sample.pairs[:, 0]] != labels[sample.pairs[:, 1]]
    assert (differ.sum(1) == 1).all()
    assert set(differ.sum(0)[:9]) == {20}
    matched = Counter(w.strip(".") for i in sample.match if labels[i, 0] >= 0 for w in texts[i].split())
    paired = Counter(w.strip(".") for i in np.unique(sample.pairs) if labels[i, 0] >= 0 for w in texts[i].split())
    common = {"The", "the", "will", "not", "did", "near", "with", "his", "her", "at", "o'clock"}
    assert set(matched) & set(paired) <= common
    for a, attribute in enumerate(sample.attributes):  # both halves have all values
        for rows in (sample.match, np.unique(sample.pairs)):
            assert set(labels[rows, a]) - {-1} == set(range(len(attribute.values)))
    again = own_sample(200, 20, np.random.default_rng(0))
    assert (again.texts, again.pairs.tolist()) == (texts, sample.pairs.tolist())
    assert own_sample(200, 20, np.random.default_rng(1)).texts != texts


def blimp(folder):
    folder.mkdir()
    for name in ("agreement", "binding"):
        rows = [{"sentence_good": f"{name} {i} is", "sentence_bad": f"{name} {i} are"} for i in range(9)]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return folder


def test_blimp_from_a_folder_a_file_and_an_archive(tmp_path, texts_of):
    folder = blimp(tmp_path / "data")
    sample, texts = texts_of(folder, (10, 4, 67))
    assert [a.name for a in sample.attributes] == ["agreement", "binding"]
    assert sample.pairs.shape == (8, 2)
    assert all(texts[i].endswith("are") and texts[j] == texts[i].replace("are", "is") for i, j in sample.pairs)
    assert not set(sample.match) & set(sample.pairs.ravel())
    with tarfile.open(tmp_path / "blimp.tgz", "w:gz") as archive:
        archive.add(folder, "data")
    assert texts_of(tmp_path / "blimp.tgz", (10, 4, 67))[1] == texts
    assert [a.name for a in texts_of(folder / "binding.jsonl", (10, 4, 67))[0].attributes] == ["binding"]


def test_ravel_swaps_change_one_attribute_and_the_splits_stay_apart(tmp_path, texts_of):
    sample, texts = texts_of(tiny_ravel.write(tmp_path / "ravel" / "data").parent)
    assert [a.name for a in sample.attributes] == ["animal Colour", "animal Home"]
    differ = sample.labels[sample.pairs[:, 0]] != sample.labels[sample.pairs[:, 1]]
    assert (differ.sum(1) == 1).all()
    assert differ.any(0).all()
    of = {animal: tiny_ravel.SPLITS[(i // 12) % 3] for i, animal in enumerate(tiny_ravel.ANIMALS)}
    splits = [
        {of[w] for i in rows for w in texts[i].split() if w in of} for rows in (sample.match, np.unique(sample.pairs))
    ]
    assert splits == [{"train", "val"}, {"test"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone", None, r"gone, which does not exist; name BLiMP's folder .*github.com/explanare/ravel\)$"),
        ("a.jsonl", '{"sentence_good": "x"}\n', r"a of .*a.jsonl is no BLiMP set \(KeyError\); its lines are JSON"),
        ("a.tgz", "no archive", r"a.tgz is no archive of .jsonl files"),
        ("empty", "", r"empty holds no ravel_\*_entity_attributes.json; unpack data.tgz of github.com/explanare/ravel"),
    ],
)
def test_bad_input_in_one_sentence(tmp_path, texts_of, name, content, message):
    path = tmp_path / name
    if content:
        path.write_text(content)
    elif content == "":
        path.mkdir()
    with pytest.raises(SaebenchError, match=message):
        texts_of(path)


def test_a_world_reads_no_files_and_too_few_pairs_are_named(planted, tmp_path, texts_of):
    with pytest.raises(NotApplicable, match="reads no words; leave the setting pairs out"):
        TASK.prepare(planted, dataclasses.replace(SMALL, pairs=str(tmp_path)), [42])
    (tmp_path / "one.jsonl").write_text('{"sentence_good": "a", "sentence_bad": "b"}\n')
    with pytest.raises(NotApplicable, match="yields 1 pairs and 0 texts to match latents on"):
        texts_of(tmp_path)
