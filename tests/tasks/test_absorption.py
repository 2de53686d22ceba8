"""Absorption: the formulas by hand, planted absorbers, hierarchies."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from saebench_lite.api.context import EvalContext
from saebench_lite.data.types import Corpus, Data
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.models.tokens import vocabulary_words
from saebench_lite.probes import latent_selection
from saebench_lite.runs.runner import run
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.tasks import _absorption_fits, absorption
from saebench_lite.tasks._absorption_metrics import AFTER_EXAMPLES, IN_SENTENCES
from saebench_lite.tasks._first_letters import (
    CARRIERS,
    Hierarchy,
    first_letters,
    from_file,
    sentence,
    word_groups,
    word_prompts,
    words,
)
from tests.conftest import HOOK
from tests.helpers.planted_world import subject, values

CFG = absorption.Config()
U = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)


def fractions(f, decoder, main, projection, cfg=CFG):
    contribution = decoder @ U
    cosine = contribution / decoder.norm(dim=1)
    return absorption.absorbed(f, contribution, cosine, torch.tensor(main), projection, cfg)


def test_fraction_and_full_absorption_by_hand():
    """Latent 0 is the parent's; 1 absorbs; 2 is orthogonal. P = 2 for every word."""
    decoder = torch.tensor([[1.0, 0, 0, 0], [0.8, 0.6, 0, 0], [0.0, 0, 1, 0]], dtype=torch.float64)
    f = torch.tensor(
        [
            [2.0, 0.0, 9.0],  # the parent's latent carries all: M = P -> 0, not full
            [0.0, 2.0, 9.0],  # silent parent, A = 1.6 >= 0.8 -> 1, full
            [1.0, 1.5, 0.0],  # M = 1, A = 1.2 >= 0.8, z = min(1.2, 1) = 1 -> 0.5
            [0.0, 0.5, 0.0],  # A = 0.4 < 0.8 -> 0, not full
            [1.0, 1.0, 0.0],  # A = 0.8 -> z = 0.8 -> 0.8 / 1.8
            [0.2, 1.5, 0.0],  # M = 0.2, A = 1.2 -> z = 1.2 -> 1.2 / 1.4; the absorber alone carries it, not fully
        ],
        dtype=torch.float64,
    )
    got = fractions(f, decoder, [0], torch.full((6,), 2.0, dtype=torch.float64))
    assert got.fraction.tolist() == pytest.approx([0, 1, 0.5, 0, 0.8 / 1.8, 1.2 / 1.4])
    assert got.full.tolist() == [0, 1, 0, 0, 0, 0]
    assert got.counts.tolist() == [True, True, True, False, True, True]  # A = 0.4 and M = 0: nothing carries the fourth
    of_all = dataclasses.replace(CFG, words="all")
    assert fractions(f, decoder, [0], torch.full((6,), 2.0, dtype=torch.float64), of_all).counts.all()


@pytest.mark.parametrize(("code", "silent"), [(0.0, True), (1e-6, True), (0.0019, True), (0.0021, False)])
def test_a_main_latent_counts_as_silent_where_it_carries_next_to_nothing(code, silent):
    """P = 2: up to 0.002 of it. A leak of 1e-6 into every code changes nothing; SAEBench's bar is a code of 1e-8."""
    decoder = torch.tensor([[1.0, 0, 0, 0], [0.8, 0.6, 0, 0]], dtype=torch.float64)
    f = torch.tensor([[code, 2.0]], dtype=torch.float64)
    projection = torch.tensor([2.0], dtype=torch.float64)
    assert fractions(f, decoder, [0], projection).full.item() == silent
    exact = fractions(f, decoder, [0], projection, dataclasses.replace(CFG, silent=0.0))
    assert exact.full.item() == (code == 0)


def test_only_the_three_strongest_absorbers_count():
    decoder = torch.tensor([[1.0, 0, 0, 0]] + [[0.5, 0.5, 0.5, 0.5]] * 5, dtype=torch.float64)
    f = torch.tensor([[0.2, 1.0, 1.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    got = fractions(f, decoder, [0], torch.tensor([3.0], dtype=torch.float64))
    assert got.fraction.item() == pytest.approx(1.5 / 1.7)


@pytest.mark.parametrize(
    ("by_k", "want"), [([0.5, 0.6, 0.61], 2), ([0.5, 0.52, 0.9], 1), ([0.1, 0.2, 0.3, 0.4], 4), ([0.7], 1)]
)
def test_main_latents_grow_while_f1_jumps(by_k, want):
    assert absorption.main_latents(by_k, 0.03) == want


def toy_bench(pico, tmp_path, template="{word} is:"):
    words = [w for w in first_letters(pico.tokenizer).words if w.startswith(" ")]
    children = {p: [w for w in words if w.strip()[0].upper() == p][:60] for p in "ASTC"}
    path = tmp_path / "tree.json"
    path.write_text(json.dumps({"template": template, "children": children}))
    return EvalContext(pico, HOOK, Data("none")), absorption.Config(hierarchy=str(path), examples=2, min_probe_f1=0.3)


def test_user_hierarchy_with_planted_absorption(pico, tmp_path):
    """The parents' own directions as latents absorb nothing; a latent that takes over half the words does."""
    ctx, cfg = toy_bench(pico, tmp_path)
    prepared = absorption.prepare(ctx, cfg, [42])
    part = prepared[0]
    assert part.parents == ["A", "C", "S", "T"]
    w, b = part.truth.weight.float(), part.truth.bias.float()
    unit = w / w.norm(dim=1, keepdim=True)
    bias = b / w.norm(dim=1)
    honest = AffineSAE(W_enc=unit.T, W_dec=unit, b_enc=bias, subtract_b_dec=False)
    got = values(absorption.TASK, subject(honest), ctx, cfg, (42,))
    assert got["full_absorption"] == 0.0
    assert got["f1_k1"] > 0.4
    # for each parent: a latent that is silent on words far along a random axis, and one that fires there instead
    axis = torch.randn(128, generator=torch.Generator().manual_seed(0))
    axis /= axis.norm()
    x = part.x.float()
    middle = (x @ axis).median()
    gate = 50.0
    shy = torch.cat([unit - gate * axis, unit + gate * axis])
    shy_bias = torch.cat([bias + gate * middle, bias - gate * middle])
    thief = AffineSAE(W_enc=shy.T, W_dec=torch.cat([unit, unit]), b_enc=shy_bias, subtract_b_dec=False)
    assert values(absorption.TASK, subject(thief), ctx, cfg, (42,))["absorption_fraction"] > got["absorption_fraction"]


def test_worked_examples_of_a_word_come_from_its_group(pico, tmp_path):
    _, cfg = toy_bench(pico, tmp_path)
    hierarchy = from_file(cfg.hierarchy)
    groups = word_groups(len(hierarchy.words), 200, 2)
    assert sorted(np.concatenate(groups).tolist()) == sorted(set(np.concatenate(groups).tolist()))
    assert sum(map(len, groups)) == 200
    assert [len(g) for g in groups] == [10] * 20
    prompts = word_prompts(hierarchy, groups, 2)
    assert prompts == word_prompts(hierarchy, groups, 2)
    halves = [(one, other) for g in groups for one, other in ((g[:5], g[5:]), (g[5:], g[:5]))]
    for prompt, (half, other, word) in zip(prompts, ((h, o, w) for h, o in halves for w in h), strict=True):
        *examples, last = prompt.split("\n")[1:]
        assert last == hierarchy.words[word]
        assert len(set(examples)) == 2
        assert set(examples) <= {f"{hierarchy.words[i]} is: {hierarchy.parents[i]}" for i in other}
        first_of_half = prompts[list(np.concatenate(groups)).index(half[0])]
        assert prompt.rpartition("\n")[0] == first_of_half.rpartition("\n")[0]


@pytest.mark.parametrize(
    ("n", "most", "examples", "sizes"),
    [(5000, 4000, 10, {64, 65}), (400, 400, 10, {20}), (60, 60, 10, {20}), (30, 30, 40, {15}), (3, 3, 0, {1})],
)
def test_groups_hold_the_examples_of_their_words_where_they_can(n, most, examples, sizes):
    groups = word_groups(n, most, examples)
    assert {len(g) for g in groups} == sizes
    assert sum(map(len, groups)) == min(n, most)


def test_a_seed_draws_what_is_tested_and_nothing_else(pico, tmp_path):
    """The same texts for every seed, in one pass of the model; no group is in both parts."""
    ctx, cfg = toy_bench(pico, tmp_path)
    hierarchy = from_file(cfg.hierarchy)
    limits = {"max_words": 1000, "test_share": 0.2, "examples": 2}
    drawn = [words(ctx, hierarchy, seed, "examples", **limits) for seed in (3, 3, 4)]
    assert len(ctx._acts) == 1
    assert torch.equal(drawn[0].acts.x, drawn[1].acts.x)
    rows = [{tuple(row) for row in part.acts.x[part.n_train :].tolist()} for part in drawn]
    assert rows[0] == rows[1] != rows[2]
    ((whole, _),) = ctx._acts.values()
    held_out = torch.tensor([tuple(row) in rows[0] for row in whole.x.tolist()])
    sizes = [len(group) for group in word_groups(len(hierarchy.words), 1000, 2)]
    of_group = [part.double().mean().item() for part in held_out.split(sizes)]
    assert sorted(of_group) == [0.0] * 16 + [1.0] * 4


def test_weak_model_is_not_applicable(pico, tmp_path):
    ctx, cfg = toy_bench(pico, tmp_path)
    with pytest.raises(NotApplicable, match="does not hold the feature well enough"):
        absorption.prepare(ctx, absorption.Config(hierarchy=cfg.hierarchy, min_probe_f1=1.0, min_share=1.0), [42])


def test_letters_the_model_does_not_know_are_left_out_and_named(pico, tmp_path, monkeypatch):
    """The bar is put between the F1 of the weakest and of the other parents; above all of them nothing is scored."""
    ctx, cfg = toy_bench(pico, tmp_path)
    (part,) = absorption.prepare(ctx, dataclasses.replace(cfg, contexts="examples"), [42])
    assert ctx.notes == []
    reached = sorted(zip(part.probe_f1.tolist(), part.parents, strict=True))
    (lowest, weakest), (second, _) = reached[:2]
    bar = (lowest + second) / 2
    strict = dataclasses.replace(cfg, contexts="examples", min_probe_f1=bar, min_share=0.5)
    (part,) = absorption.prepare(ctx, strict, [42])
    assert [name for name, counts in zip(part.parents, part.counts, strict=True) if not counts] == [weakest]
    assert part.left_out == {weakest: pytest.approx(lowest)}
    (note,) = ctx.notes
    assert note.startswith("absorption leaves out 1 of 4 parents of the tree hierarchy after worked examples")
    assert note.endswith(f"in at least one draw: {weakest}")
    scores = absorption.evaluate(subject(random_sae_of(128)), ctx, [part], strict, [42])
    assert scores.diagnostics["parents_left_out"] == {"42": {weakest: pytest.approx(lowest)}}
    assert weakest not in scores.table("f1_k1")[0]
    monkeypatch.setattr(_absorption_fits, "f1", lambda margin, y: torch.full(y.shape[:1], 0.99))
    none = dataclasses.replace(cfg, contexts="examples", min_probe_f1=1.0, min_share=0.0)
    with pytest.raises(NotApplicable, match="for only 0 of 4 parents"):
        absorption.prepare(ctx, none, [42])


def random_sae_of(width):
    w = torch.nn.functional.normalize(torch.randn(200, width, generator=torch.Generator().manual_seed(0)))
    return AffineSAE(W_enc=w.T, W_dec=w)


def test_sentences_end_at_the_word_and_depend_on_nothing_else():
    every = [" cat", "cat", " Cat", " dog", "ing", *(f" w{i}" for i in range(100))]
    assert [sentence(w) for w in every] == [sentence(w) for w in every]
    assert all(sentence(w).endswith(w) for w in every)
    assert sentence("ing").endswith(' "ing')
    assert {c for c in CARRIERS for w in every if sentence(w).startswith(c)} == set(CARRIERS)
    assert not [c for c in CARRIERS if "letter" in c or "spell" in c or "begin" in c]


def test_rows_of_sentences_are_the_words_of_either_form(pico, tmp_path):
    """Same words, parts and labels in both forms; each row is its own sentence's last token; seeds share one pass."""
    ctx, cfg = toy_bench(pico, tmp_path)
    hierarchy = from_file(cfg.hierarchy)
    limits = {"max_words": 1000, "test_share": 0.2, "examples": 1}
    after, inside = (words(ctx, hierarchy, 3, form, **limits) for form in ("examples", "sentences"))
    assert after.n_train == inside.n_train
    assert torch.equal(after.y, inside.y)
    for word in (0, 1, len(hierarchy.words) - 1):
        alone = ctx.acts(Corpus("one", (sentence(hierarchy.words[word]),)), "last").x
        far = (inside.acts.x - alone).norm(dim=1)
        assert far.min() < 1e-3
        label = inside.names.index(hierarchy.parents[word])
        assert inside.y[label, far.argmin()]
    read = len(ctx._acts)
    words(ctx, hierarchy, 4, "sentences", **limits)
    assert len(ctx._acts) == read


def test_each_form_has_its_own_metrics_and_neither_moves_the_other(pico, tmp_path):
    ctx, cfg = toy_bench(pico, tmp_path)
    sae = subject(random_sae_of(128))
    got = {
        form: values(absorption.TASK, sae, ctx, dataclasses.replace(cfg, contexts=form), (42,))
        for form in ("examples", "sentences", "both")
    }
    assert set(got["examples"]) == {m.name for m in AFTER_EXAMPLES}
    assert set(got["sentences"]) == {m.name for m in IN_SENTENCES}
    assert got["both"] == got["examples"] | got["sentences"]
    assert got["both"]["f1_k1"] != got["both"]["f1_k1_sentences"]


def test_a_form_the_model_does_not_know_leaves_the_other(pico, tmp_path, monkeypatch):
    ctx, cfg = toy_bench(pico, tmp_path)
    whole = absorption.words

    def read(ctx, hierarchy, seed, form, **limits):
        if form == "examples":
            raise NotApplicable("no examples today")
        return whole(ctx, hierarchy, seed, form, **limits)

    monkeypatch.setattr(absorption, "words", read)
    (part,) = absorption.prepare(ctx, cfg, [42])
    assert part.form == "sentences"
    assert "no examples today" in ctx.notes


def test_sae_without_a_decoder_is_not_applicable(pico, tmp_path):
    ctx, cfg = toy_bench(pico, tmp_path)

    class Opaque:
        d_in, d_sae = 128, 4

        def encode(self, x):
            return x[:, :4]

        def decode(self, f):
            return torch.nn.functional.pad(f, (0, 124))

    with pytest.raises(NotApplicable, match="no decoder directions"):
        absorption.evaluate(subject(Opaque()), ctx, [], cfg, [42])  # type: ignore[arg-type]


@pytest.mark.parametrize("content", ["[]", "{", '{"template": "no word", "children": {"a": ["b"], "c": ["d"]}}'])
def test_hierarchy_files_that_do_not_fit(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(SaebenchError, match="hierarchy"):
        from_file(str(path))


def test_parents_without_words_are_named_and_no_words_are_not_applicable(pico, tmp_path):
    path = tmp_path / "empty.json"
    path.write_text(json.dumps({"template": "{word} is:", "children": {"full": ["a"], "bare": []}}))
    with pytest.raises(SaebenchError, match="no words under 'bare'; give it some, or leave it out"):
        from_file(str(path))
    ctx = EvalContext(pico, HOOK, Data("none"))
    for form in ("examples", "sentences"):
        with pytest.raises(NotApplicable, match="only 0 words of the bare hierarchy are one token of this model"):
            words(ctx, Hierarchy("bare", [], [], "{word} is:"), 42, form, max_words=100, test_share=0.2, examples=2)


def test_words_keep_the_space_that_a_decoder_strips():
    class Strips:
        """As Llama 2: the first token of a text loses its space."""

        def get_vocab(self):
            return dict.fromkeys(["\u2581dog", "dog", "\u2581", "\u2581a1", "ing"], 0)

        def convert_tokens_to_string(self, tokens):
            return "".join(tokens).replace("\u2581", " ").removeprefix(" ")

    class Keeps(Strips):
        def convert_tokens_to_string(self, tokens):
            return "".join(tokens).replace("\u2581", " ")

    for tokenizer in (Strips(), Keeps()):
        assert vocabulary_words(tokenizer) == [" dog", "dog", "ing"]  # type: ignore[arg-type]  # two of its members


def test_vocabulary_words_keep_their_space(pico):
    hierarchy = first_letters(pico.tokenizer)
    assert len(hierarchy.words) == 3586
    assert " the" in hierarchy.words
    assert hierarchy.parents[hierarchy.words.index(" the")] == "T"


@pytest.mark.parametrize("strip", [1, 1 << 21])
def test_differences_of_means_equal_numpy(strip, monkeypatch):
    monkeypatch.setattr(latent_selection, "STRIP", strip)
    g = torch.Generator().manual_seed(3)
    table, y = torch.randn(40, 7, generator=g), torch.rand(3, 40, generator=g) < 0.3
    x = table.double().numpy()
    want = [(x[row].mean(0) - x[~row].mean(0)) / x.std(0, ddof=1) for row in y.numpy()]
    got = latent_selection.standardised_differences(table, y)
    torch.testing.assert_close(got, torch.tensor(np.array(want)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("world", "why"), [("tiny,roots=0", "no words, nor features that imply others"), ("tiny", "no words")]
)
def test_a_world_has_no_words_to_ask_for(world, why, tmp_path):
    letters = tmp_path / "letters.json"
    letters.write_text('{"A": [" an", " as"], "B": [" be", " by"]}')
    asked = {} if "roots" in world else {"hierarchy": str(letters)}
    name = f"world:{world}"
    (record,) = run(
        {},
        model=name,
        hook="world",
        data=name,
        tasks=["absorption"],
        settings={"absorption": asked},
        baselines=["oracle"],
    )
    assert (record.status, record.reason) == ("not_applicable", f"{name} has {why}")
