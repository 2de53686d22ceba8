"""Autointerp on texts that name the features they hold: known answers, no leak, planted judges, no key anywhere."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from saebench_lite import registry
from saebench_lite.activations.pooled_codes import Pooled
from saebench_lite.api.baseline import DerivesSAE
from saebench_lite.api.context import EvalContext
from saebench_lite.api.recorded_settings import recorded
from saebench_lite.api.registered import baseline
from saebench_lite.data.types import Corpus, Data
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.models import judge as judges
from saebench_lite.models.text_similarity import TF_IDF
from saebench_lite.runs.evaluate import summarise
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.tasks import _autointerp_judge as asking
from saebench_lite.tasks import _autointerp_likeness as likeness
from saebench_lite.tasks import _autointerp_windows as cutting
from saebench_lite.tasks import autointerp
from saebench_lite.worlds.model import HOOK, WorldModel, text
from saebench_lite.worlds.oracle import OracleSAE
from tests.helpers.planted_world import random_sae, subject, world

TASK = registry.get("tasks", "autointerp")
WORDS = ("ant", "bee", "cow", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay", "koi", "lynx")
TEXTS = 240


@pytest.fixture(scope="module")
def site():
    """(ctx, oracle): text t has a word for each feature it holds, and one of its own."""
    ctx, oracle, holds = world(texts=TEXTS)
    named = [[w for w, there in zip(WORDS, row, strict=True) if there] for row in holds.tolist()]
    texts = tuple(" ".join([f"n{t}", *words]) for t, words in enumerate(named))
    ctx.data = replace(ctx.data, texts=(Corpus("named", texts),))
    ctx.lm, ctx.cache = SimpleNamespace(planted=False, name="planted"), None
    return ctx, AffineSAE(W_enc=oracle.W_enc, W_dec=oracle.W_dec, b_enc=torch.full((12,), -0.1), b_dec=oracle.b_dec)


def scored(site, sae, seeds=(42, 43), **settings):
    ctx, cfg = site[0], TASK.config(**{"encoder": TF_IDF, **settings})
    out = TASK.evaluate(subject(sae), ctx, TASK.prepare(ctx, cfg, seeds), cfg, seeds)
    return {name: score.value for name, score in summarise(out, TASK.card)[0].items()}, out


def test_true_features_are_told_by_what_the_texts_say_and_another_latents_examples_are_no_help(site):
    best, out = scored(site, site[1])
    assert best["embedding"] > 0.95
    assert best["intruder"] > 0.6
    assert 0.35 < best["embedding_other"] < 0.65
    assert best["scored_share"] == 1.0
    assert out.diagnostics["encoder"] == "tf-idf"
    assert sorted(out.diagnostics["latents"]["42"]) == list(range(12))
    chance, _ = scored(site, random_sae())
    assert chance["embedding"] < best["embedding"] - 0.05
    assert chance["intruder"] < best["intruder"] - 0.2


def test_latents_that_fire_at_random_are_at_chance(site):
    ctx = SimpleNamespace(**vars(site[0]))
    codes = torch.rand(TEXTS, 40, generator=torch.Generator().manual_seed(0)) - 0.6
    ctx.pooled = lambda *_: SimpleNamespace(
        blocks=lambda: [(range(40), {"max": codes})], columns=lambda _: [(torch.arange(40), {"max": codes})]
    )
    noise, out = scored((ctx, None), random_sae(), seeds=(1, 2))
    for name, chance in (("embedding", 0.5), ("intruder", 0.2)):
        score = summarise(out, TASK.card)[0][name]
        assert score.low is not None
        assert score.high is not None
        assert score.low < chance < score.high
    assert noise["scored_share"] == 1.0


def test_neither_the_scale_of_codes_nor_blocks_of_latents_matter(site):
    ctx, oracle = site
    first, out = scored(site, oracle)
    louder = AffineSAE(**oracle.tensors | {"W_enc": 7 * oracle.W_enc, "b_enc": 7 * oracle.b_enc})
    assert scored(site, louder)[0] == first
    small = SimpleNamespace(**vars(ctx))
    few = 4 * TEXTS * 5  # bytes for five latents at once
    small.pooled = lambda sae, corpus, poolings: Pooled(sae, ctx.acts(corpus), poolings, few)
    again, same = scored((small, oracle), oracle)
    assert again == first
    assert same.diagnostics == out.diagnostics


def test_latents_that_fire_too_rarely_or_too_often_are_counted_and_left_out(site):
    _, oracle = site
    weights = torch.cat([oracle.W_enc, 0 * oracle.W_enc[:, :2]], 1)
    bias = torch.cat([oracle.b_enc, torch.tensor([1.0, -1.0])])  # always, never
    both = AffineSAE(W_enc=weights, W_dec=torch.eye(16)[:14], b_enc=bias, b_dec=oracle.b_dec)
    figures, out = scored(site, both, seeds=(5,), latents=4)
    assert figures["scored_share"] == pytest.approx(12 / 14)
    assert len(out.diagnostics["latents"]["5"]) == 4
    assert not {12, 13} & set(out.diagnostics["latents"]["5"])
    with pytest.raises(NotApplicable, match=r"^no latent of 's' fires and is silent on 10 windows"):
        scored(site, AffineSAE(W_enc=0 * oracle.W_enc, W_dec=oracle.W_dec))


def test_windows_are_pieces_of_texts_each_once():
    texts = ("a b c d e  f g", "h i", "A b\nc d", "j k l m n o p q")
    got = cutting.windows_of([Corpus("t", texts)], 4, 99)
    assert got.corpus.texts == ("a b c d", "e  f g", "h i", "j k l m", "n o p q")  # the third is the first once more
    assert got.source.tolist() == [0, 0, 1, 3, 3]
    assert cutting.windows_of([Corpus("t", texts)], 4, 3).corpus.texts == ("a b c d", "h i", "n o p q")
    assert cutting.windows_of([Corpus("t", ("a b c d e",))], 4, 9).corpus.texts == ("a b c d",)


def test_rows_of_a_sample_spread_over_ranks_and_groups_hold_one_intruder():
    codes, side = np.arange(-20.0, 20.0), np.arange(40) % 2 == 0
    drawn = cutting.sample_of(codes, side, 3, "x")
    assert codes[drawn.rows[:3]].tolist() == [18, 10, 2]
    assert (codes[drawn.rows[3:]] <= 0).all()
    assert drawn.firing.tolist() == [True] * 3 + [False] * 3
    groups = cutting.intruder_groups(codes, side, 5, 6, "x")
    assert (codes[groups[:, 0]] <= 0).all()
    assert codes[groups[0, 1:]].tolist() == [18, 16, 14, 12]
    assert codes[groups[-1, 1:]].tolist() == [8, 6, 4, 2]
    assert side[groups].all()
    assert side[drawn.rows].all()


class Fake:
    """A judge whose answers are a function of the prompt."""

    def __init__(self, answer):
        self.answer, self.prompts = answer, []

    def ask(self, prompts):
        self.prompts += prompts
        return [self.answer(prompt) for prompt in prompts]


def judged(site, monkeypatch, answer, **settings):
    fake = Fake(answer)
    monkeypatch.setattr(autointerp, "open_judge", lambda *_, **__: fake)
    return *scored(site, site[1], seeds=(42,), judge_model="fake", **settings), fake


def texts_in(prompt):
    """Numbers of the texts that a prompt shows."""
    return {word for word in prompt.replace('"', " ").split() if word[0] == "n" and word[1:].isdigit()}


def test_no_text_is_on_both_sides(site, monkeypatch):
    """Neither in what the judge reads, nor among the rows that likeness is asked of; halves change with the seed."""
    _, _, fake = judged(site, monkeypatch, lambda prompt: "yes")
    shown = set().union(*(texts_in(p) for p in fake.prompts if "Description" not in p))
    asked = set().union(*(texts_in(p) for p in fake.prompts if "Description" in p))
    assert min(len(shown), len(asked)) > 50
    assert not shown & asked
    windows = cutting.windows_of(
        [Corpus("long", tuple(" ".join(f"{t}w{i}" for i in range(20)) for t in range(9)))], 4, 99
    )
    halves = [cutting.sides(windows, seed) for seed in range(8)]
    for side in halves:
        assert not set(windows.source[side]) & set(windows.source[~side])
        assert len(set(windows.source[side])) == 5
    assert len({side.tobytes() for side in halves}) > 4
    rows: list[tuple[np.ndarray, np.ndarray]] = []
    ctx, cfg = site[0], TASK.config(encoder=TF_IDF)
    shared = TASK.prepare(ctx, cfg, [42])
    real = shared.similarity.cosines
    spy = SimpleNamespace(name="spy", cosines=lambda a, b: rows.append((a, b)) or real(a, b))
    TASK.evaluate(subject(site[1]), ctx, shared._replace(similarity=spy), cfg, [42])
    crossed = [(a, b) for a, b in rows if a is not b]
    assert len(crossed) == 24  # own and another's examples of 12 latents
    scored_rows, example_rows = (set(np.concatenate(side).tolist()) for side in zip(*crossed, strict=True))
    assert not scored_rows & example_rows
    assert all(not shared.shown[0][a].any() for a, b in rows if a is b)


@pytest.mark.parametrize("answer", ["yes", "No.", "Yes, it does", "no - never"])
def test_a_judge_of_one_answer_is_at_chance(site, monkeypatch, answer):
    got, _, _ = judged(site, monkeypatch, lambda prompt: answer)
    assert (got["detection"], got["detection_other"], got["detection_unclear"]) == (0.5, 0.5, 0.0)


def test_answers_that_cannot_be_read_are_counted_and_half_right(site, monkeypatch):
    got, _, _ = judged(site, monkeypatch, lambda prompt: "")
    assert (got["detection"], got["detection_unclear"]) == (0.5, 1.0)
    assert [asking.verdict_of(a) for a in ("**Yes**", "1. no", "NO")] == [1, 0, 0]
    assert np.isnan([asking.verdict_of(a) for a in ("maybe", "yesterday", "", "12")]).all()
    assert asking.tidy(" a\n b ") == "a b"
    assert len(asking.tidy("x" * 999)) == asking.LONGEST


def knows(prompt: str) -> str:
    """A judge that names the word that most sets the groups apart, and looks for it."""
    if "Description" in prompt:
        told, text = (line.split(": ", 1)[1] for line in prompt.splitlines()[:2])
        return "yes" if told in text.strip('"').split() else "no"
    firing, silent = prompt.split("Texts of group B")
    return max(WORDS, key=lambda w: firing.split().count(w) - silent.split().count(w))


def test_a_judge_that_reads_detects_and_another_latents_explanation_does_not(site, monkeypatch):
    got, out, fake = judged(site, monkeypatch, knows, judge_latents=6)
    assert got["detection"] > 0.95
    assert 0.3 < got["detection_other"] < 0.7
    assert len(out.table("detection")[0]) == 6
    assert len(fake.prompts) == 6 + 6 * 2 * 20


def test_answers_are_kept_counted_beforehand_and_no_key_is_written(site, monkeypatch, tmp_path, caplog):
    key = "sk-very-secret-0123"
    calls: list[dict] = []

    def post(self, body):
        calls.append(body)
        return json.dumps({"choices": [{"message": {"content": knows(body["messages"][0]["content"])}}]}).encode()

    monkeypatch.setenv(judges.KEY, key)
    monkeypatch.setattr(judges.RemoteJudge, "_post", post)
    monkeypatch.setattr(judges.RemoteJudge, "workers", 1, raising=False)
    monkeypatch.setattr(site[0], "cache", tmp_path)
    settings = {"judge_url": "https://judge.example/v1", "judge_model": "some-model", "judge_latents": 2}
    with caplog.at_level("INFO", logger="saebench_lite"):
        first, out = scored(site, site[1], seeds=(42,), **settings)
    assert first["detection"] == 1.0
    made = len(calls)
    assert 62 < made <= 2 + 2 * 2 * 20  # what two latents ask alike is asked once
    assert "2 explanations, then 80 questions" in caplog.messages[0]
    assert "2 calls" in caplog.messages[1]
    assert "USD" in caplog.messages[1]
    assert scored(site, site[1], seeds=(42,), **settings)[0] == first
    assert len(calls) == made  # nothing is asked twice
    written = [p.read_text() for p in tmp_path.rglob("*") if p.is_file()]
    assert len(written) == made
    assert key not in "".join([*written, *caplog.messages, json.dumps(out.diagnostics), repr(TASK.config(**settings))])
    with pytest.raises(SaebenchError, match="more than the 10 allowed"):
        scored(site, site[1], seeds=(43,), max_calls=10, **settings)


def test_what_cannot_serve_says_so(site, monkeypatch):
    ctx = SimpleNamespace(**vars(site[0]))
    cfg = TASK.config()
    ctx.lm = SimpleNamespace(planted=True, name="world:tiny")
    with pytest.raises(NotApplicable, match=r"^texts of world:tiny say nothing to a judge"):
        TASK.prepare(ctx, TASK.config(judge_model="j"), [0])
    ctx.data = replace(ctx.data, texts=())
    with pytest.raises(NotApplicable, match=r"has no texts$"):
        TASK.prepare(ctx, cfg, [0])
    with pytest.raises(SaebenchError, match="needs the name of a model"):
        TASK.prepare(site[0], TASK.config(judge_url="http://localhost:1/v1"), [0])
    monkeypatch.setattr("saebench_lite.models.minilm.cache_root", lambda: Path("/nowhere"))
    with pytest.raises(
        SaebenchError, match=r"run: saebench-lite data pull minilm; or .* --set autointerp.encoder=tf-idf"
    ):
        TASK.prepare(site[0], cfg, [0])


def test_what_an_encoder_says_is_kept_for_other_runs(site, tmp_path, monkeypatch, pico):
    """Under its weights and the texts; it is the default, and records name it."""
    assert TASK.config().encoder == "minilm"
    assert recorded(TASK.config())["encoder"] == "minilm"
    read = []
    real = likeness.embedded
    monkeypatch.setattr(likeness.LanguageModel, "load", lambda name, device: pico)
    monkeypatch.setattr(likeness, "embedded", lambda lm, texts: read.append(len(texts)) or real(lm, texts))
    ctx: Any = SimpleNamespace(**vars(site[0]))
    ctx.cache, ctx.doing, ctx.device = tmp_path, lambda what: None, "cpu"
    corpus = ctx.data.texts[0]
    first, again = (likeness.similarity_of(ctx, corpus, "minilm") for _ in range(2))
    assert read == [TEXTS]
    assert first.name.startswith("pico ")
    rows = np.arange(20)
    assert torch.equal(first.cosines(rows, rows), again.cosines(rows, rows))
    likeness.similarity_of(ctx, Corpus("others", corpus.texts[:5]), "minilm")
    assert read == [TEXTS, 5]


def test_a_world_is_read_by_its_true_features():
    """The oracle's latents are told apart, random ones hardly; cosines are those of the features as words."""
    model = WorldModel.load("tiny")
    corpus = Corpus("world", tuple(map(text, range(512))))
    ctx = EvalContext(model, HOOK, Data("world", texts=(corpus,)))
    cfg = TASK.config(latents=12)
    shared = TASK.prepare(ctx, cfg, [1])
    assert shared.similarity.name == "true features"
    names = likeness.feature_names(model, corpus.texts[255:257])
    for name, block, row in ((names[0], 0, 255), (names[1], 1, 0)):
        held = model.features(block).view(256, model.tokens, -1)[row]
        assert sorted(name.split()) == sorted(f"f{j}" for j in (held > 0).nonzero()[:, 1].tolist())
    oracle, way = OracleSAE(model, 24, 2), baseline("matched_random").method
    assert isinstance(way, DerivesSAE)
    saes: list[Any] = [oracle, way.derive(oracle, ctx, 1)]
    best, none = (TASK.evaluate(subject(sae), ctx, shared, cfg, [1]) for sae in saes)
    figures = [summarise(s, TASK.card)[0] for s in (best, none)]
    for metric in ("embedding", "intruder"):
        assert figures[0][metric].value > figures[1][metric].value + 0.1
    assert best.diagnostics["encoder"] == "true features"
