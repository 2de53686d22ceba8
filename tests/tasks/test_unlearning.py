"""Unlearning on a model whose knowledge of a domain is one direction: known answers, nulls, files of a user's own."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from saebench_lite import registry
from saebench_lite.activations.acts import Acts
from saebench_lite.bundled import concept_texts, questions
from saebench_lite.data.types import Corpus
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.models.protocol import Prefix
from saebench_lite.models.token_rule import Positions
from saebench_lite.models.tokens import padded, rows_by_length
from saebench_lite.runs.evaluate import summarise
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.tasks import unlearning
from saebench_lite.tasks._unlearning_edits import Edit, answers, edited, pieces_of, tokenised
from saebench_lite.tasks._unlearning_latents import Firing, edits, norm_units, random_edit
from saebench_lite.tasks._unlearning_questions import Domain, Question, domain_of_file
from tests.helpers.planted_world import subject

TASK = registry.get("tasks", "unlearning")
WORDS = ["pad", "red", "blue", "tea", *(f"q{i}" for i in range(24)), *(f"{d}{o}" for d in "RB" for o in "abcd")]
D, HOOK = 16, "planted"
DIRECTIONS = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(0))).Q
"Rows: red, blue, tea, then what questions have in common, in eight shares."


class Planted:
    """Activations are sums of the directions of the words so far; "Ra" is likely where red is, "Ba" where blue is."""

    name, is_causal, planted, vocabulary, context = "planted", True, False, len(WORDS), 8
    special, device = torch.tensor([0]), torch.device("cpu")

    def __init__(self):
        self.embed = torch.zeros(len(WORDS), D)
        self.embed[1:4] = DIRECTIONS[:3]
        for i in range(24):
            self.embed[WORDS.index(f"q{i}")] = DIRECTIONS[3 + i % 8]
        self.readout = torch.zeros(D, len(WORDS))
        self.readout[:, WORDS.index("Ra")], self.readout[:, WORDS.index("Ba")] = 4 * DIRECTIONS[0], 4 * DIRECTIONS[1]
        self.bias = torch.zeros(len(WORDS))
        self.bias[[WORDS.index("Rb"), WORDS.index("Bb")]] = 1.0

    def tokenize(self, texts, *, context, long_texts):
        return [[WORDS.index(word) for word in text.split()] for text in texts]

    def batches(self, ids, *, max_tokens):
        for rows in rows_by_length(ids, max_tokens):
            yield rows, padded([ids[i] for i in rows], 0, self.special, self.device)

    def positions(self, hook):
        return Positions()

    def prefix(self, batch, hook):
        return Prefix(self.embed[batch.ids].cumsum(1), None)

    def logits_with(self, batch, prefix, replacement, hook):
        return replacement @ self.readout + self.bias


def site() -> Any:
    """A ctx of the model, with activations of any corpus."""
    lm = Planted()

    def acts(corpus):
        rows = lm.tokenize(corpus.texts, context=None, long_texts="refuse")
        x = torch.cat([lm.embed[torch.tensor(row)].cumsum(0) for row in rows])
        return Acts(x, torch.tensor([0, *torch.tensor([len(r) for r in rows]).cumsum(0).tolist()]))

    notes = []
    about = {"notes": notes, "note": notes.append, "doing": lambda what: None}
    return SimpleNamespace(lm=lm, hook=HOOK, memory=1 << 30, batch_tokens=64, acts=acts, **about)


def asked(colour):
    letter = colour[0].upper()
    return [Question(f"{colour} q{i}", tuple(f"{letter}{o}" for o in "abcd")) for i in range(24)]


RED, BLUE = asked("red"), asked("blue")
TEXTS = {c: (Corpus(c, tuple(f"tea {c} q{i}" for i in range(24))),) for c in ("red", "blue")}
DOMAINS = [
    Domain("red", RED, BLUE, TEXTS["red"], TEXTS["blue"]),
    Domain("blue", BLUE, RED, TEXTS["blue"], TEXTS["red"]),
]


def sae_of(rows, **kwargs):
    return AffineSAE(W_enc=rows.T, W_dec=rows, b_enc=torch.full((len(rows),), -0.1), **kwargs)


ORACLE = sae_of(DIRECTIONS)


def scores(ctx, sae, seeds=(42, 43), **settings):
    cfg = TASK.config(**{"latents": (1,), "strengths": (0.0, 1.0)} | settings)
    out = TASK.evaluate(subject(sae), ctx, TASK.prepare(ctx, cfg, seeds), cfg, seeds)
    return {name: score.value for name, score in summarise(out, TASK.card)[0].items()}, out


@pytest.fixture(autouse=True)
def two_domains(monkeypatch):
    monkeypatch.setattr(unlearning, "bundled_domains", lambda texts: DOMAINS)


def test_a_latent_that_is_the_domain_forgets_it_all_and_harms_nothing():
    got, out = scores(site(), ORACLE)
    assert {k: got[k] for k in ("alignment", "forgotten", "retained")} == {
        "alignment": 1,
        "forgotten": 1,
        "retained": 1,
    }
    assert got["retain_kl"] == 0.0
    assert got["gain"] == 1 - got["alignment_random"]
    assert got["alignment_random"] < 0.2  # random latents fire on both domains alike
    assert out.diagnostics["edits"]["red"]["42"] == {"latents": [0], "strength": 0.0}
    assert out.diagnostics["edits"]["blue"]["42"]["latents"] == [1]


def test_latents_that_hold_no_domain_and_ones_that_hold_both():
    nothing = sae_of(DIRECTIONS[3:])
    got, _ = scores(site(), nothing, retain_share=1.0)
    assert (got["alignment"], got["retained"], got["gain"]) == (0, 1, 0)
    none_passes, out = scores(site(), nothing)  # all of them fire on texts to retain too
    assert none_passes["alignment"] == 0
    assert out.diagnostics["edits"]["red"]["42"]["latents"] == []
    both = sae_of((DIRECTIONS[0] + DIRECTIONS[1])[None] / 2**0.5)
    ruined, _ = scores(site(), both, retain_share=1.0, strengths=(3.0,))
    assert (ruined["alignment"], ruined["forgotten"], ruined["retained"]) == (0, 1, 0)


def test_neither_scale_nor_order_of_latents_nor_chunks_matter():
    first, _ = scores(site(), ORACLE)
    louder = AffineSAE(W_enc=5 * ORACLE.W_enc, W_dec=ORACLE.W_dec / 5, b_enc=5 * ORACLE.b_enc)
    assert scores(site(), louder)[0] == pytest.approx(first)
    small = site()
    small.memory = 16 * D * 3
    assert scores(small, ORACLE)[0] == pytest.approx(first)
    order = torch.arange(D).roll(5)
    turned = scores(site(), sae_of(DIRECTIONS[order]))[0]
    for name in ("alignment", "forgotten", "retained", "retain_kl"):
        assert turned[name] == first[name]


def test_a_dictionary_whose_codes_write_little_is_pushed_as_hard():
    """A set code writes the mean norm of activations whatever the length of its decoder row; of a zero row, nothing."""
    ctx, decoder = site(), DIRECTIONS[:4] * torch.tensor([1.0, 0.1, 7.0, 0.0])[:, None]
    norms = ctx.acts(TEXTS["red"][0]).x.double().norm(dim=1)
    units = norm_units(ctx.acts, ORACLE, decoder, TEXTS["red"] * 2)
    assert (units * decoder.norm(dim=1)).tolist() == pytest.approx([norms.mean().item()] * 3 + [0], rel=1e-5)
    firing = Firing(torch.tensor([3.0, 2.0, 1.0, 0.0], dtype=torch.float64), 10)
    silent = Firing(torch.zeros(4, dtype=torch.float64), 10)
    one, two = edits(firing, silent, units, 0.5, (2,), (2.0, 1.0))
    assert one.latents.tolist() == two.latents.tolist() == [0, 1]
    assert two.to.tolist() == (2 * one.to).tolist() == (-2 * units[:2]).tolist()
    other = random_edit(two, firing, units, np.random.default_rng(0))
    assert other.latents.tolist() == [2]
    assert other.to.tolist() == [-2 * units[2].item()]


def test_an_edit_in_float64_by_hand():
    """x + (f' - f) W: only where the latent fires, the error of the reconstruction stays."""
    g = torch.Generator().manual_seed(1)
    sae = AffineSAE(W_enc=torch.randn(6, 9, generator=g), W_dec=torch.randn(9, 6, generator=g), b_dec=torch.ones(6))
    x = torch.randn(40, 6, generator=g)
    edit = Edit(torch.tensor([2, 7]), torch.tensor([-3.0, 0.5]), 1.0, 2)
    f = sae.encode(x).double()
    after = f.clone()
    for latent, to in ((2, -3.0), (7, 0.5)):
        after[f[:, latent] > 0, latent] = to
    by_hand = x.double() + (after - f) @ sae.W_dec.double()
    got = edited(sae, x, edit, 1 << 30)
    assert got.double().numpy() == pytest.approx(by_hand.numpy(), abs=1e-5)
    still = ~((f[:, 2] > 0) | (f[:, 7] > 0))
    assert 0 < still.sum() < 40
    assert torch.equal(got[still], x[still])
    assert not torch.equal(got, x)


def test_kl_and_answers_by_hand():
    ctx = site()
    ids, options, used = tokenised(ctx.lm, RED[:3] + BLUE[:2])
    assert used == [0, 1, 2, 3, 4]
    pieces = pieces_of(ctx, ids, options)
    clean = answers(ctx, pieces)
    assert clean.right.all()
    assert (clean.kl == 0).all()
    got = answers(ctx, pieces, ORACLE, Edit(torch.tensor([0]), torch.tensor([0.0]), 0.0, 1))
    assert got.right.tolist() == [False] * 3 + [True] * 2
    before, after = ctx.lm.bias.double().clone(), ctx.lm.bias.double().clone()
    before[WORDS.index("Ra")], after[WORDS.index("Ra")] = 4.0, 4 * 0.1  # the latent's bias stays in the error
    p, q = before.log_softmax(0), after.log_softmax(0)
    assert got.kl[:3].tolist() == pytest.approx([(p.exp() * (p - q)).sum().item()] * 3, rel=1e-4)
    assert got.kl[3:].tolist() == [0, 0]


def test_questions_that_cannot_be_asked_or_are_not_known_are_left_out_and_counted(monkeypatch):
    odd = [Question("red q1", ("Ra q1", "Ra q2", "Rb", "Rc")), Question("red q2", ("Rb", "Ra", "Rc", "Rd"))]
    domain = DOMAINS[0]._replace(forget=RED[:6] + odd)
    monkeypatch.setattr(unlearning, "bundled_domains", lambda texts: [domain])
    ctx = site()
    (known,) = TASK.prepare(ctx, TASK.config(retained=10), [0])
    assert known.forget == 6
    assert sum(len(piece.places) for piece in known.pieces) == 16
    assert ctx.notes == [
        "unlearning: planted knows 30 of 31 questions (1 more have options that begin with the same token)"
    ]
    ctx.lm.readout.zero_()
    with pytest.raises(NotApplicable, match="knows fewer than 4 of the questions"):
        TASK.prepare(ctx, TASK.config(), [0])
    assert "no more than by chance" in ctx.notes[1]


def test_halves_are_of_both_sides_disjoint_and_of_the_seed():
    (known, _) = TASK.prepare(site(), TASK.config(), [0])
    drawn = [unlearning.halves(known, seed) for seed in range(6)]
    for choose, test in drawn:
        assert not (choose & test).any()
        assert (choose[:24].sum(), test[:24].sum(), choose[24:].sum(), test[24:].sum()) == (12, 12, 12, 12)
    assert len({choose.numpy().tobytes() for choose, _ in drawn}) == 6


LINES = [{"set": s, "text": f"{s} text {i}"} for s in ("forget", "retain") for i in range(3)]
LINES += [
    {"set": s, "question": f"{s} {i}?", "choices": ["w", "x", "y", "z"], "answer": 2}
    for s in ("forget", "retain")
    for i in range(2)
]


def test_a_file_of_a_users_own(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, LINES)) + "\n\n")
    got = domain_of_file(str(path), 2)
    assert got.name == "own"
    assert got.forget[1] == Question("forget 1?\nA. w\nB. x\nC. y\nD. z\nAnswer:", ("C", "D", "A", "B"))
    assert len(got.retain) == 2
    assert got.forget_texts[0].texts == ("forget text 0", "forget text 2")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "line 11 is '{'; a line is"),
        ("[]", "line 11 is"),
        (json.dumps({"set": "other", "text": "x"}), "line 11 is"),
        (json.dumps({"set": "forget", "text": " "}), "line 11 is"),
        (json.dumps(LINES[-1] | {"answer": 4}), "line 11 is"),
        (json.dumps(LINES[-1] | {"answer": True}), "line 11 is"),
        (json.dumps(LINES[-1] | {"choices": ["a", "b", "c"]}), "line 11 is"),
        (json.dumps(LINES[-1] | {"choices": ["a", "b", "c", 4]}), "line 11 is"),
        (json.dumps(LINES[-1] | {"question": None}), "line 11 is"),
    ],
)
def test_a_line_of_another_form_is_named(tmp_path, line, sentence):
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join([*map(json.dumps, LINES), line]))
    with pytest.raises(SaebenchError) as raised:
        domain_of_file(str(path), 9)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_or_lacks_a_side(tmp_path):
    with pytest.raises(SaebenchError, match="cannot be read"):
        domain_of_file(str(tmp_path / "none.jsonl"), 9)
    path = tmp_path / "own.jsonl"
    for lines, lacking in ((LINES[:6], "questions to forget"), (LINES[3:], "texts to forget")):
        path.write_text("\n".join(map(json.dumps, lines)))
        with pytest.raises(SaebenchError, match=f"has no {lacking}"):
            domain_of_file(str(path), 9)


def test_a_model_that_cannot_be_asked():
    ctx = site()
    ctx.lm.is_causal = False
    with pytest.raises(NotApplicable, match="is an encoder"):
        TASK.prepare(ctx, TASK.config(), [0])


def test_bundled_questions_are_whole_distinct_and_on_topics_with_texts():
    listed = questions()
    assert set(listed) <= set(concept_texts())
    assert [len(v) for v in listed.values()] == [40] * 5
    everyone = [q for topic in listed.values() for q in topic]
    assert all(len(q) == 5 and len({o.split()[0].casefold() for o in q[1:]}) == 4 for q in everyone)
    assert all(part == part.strip() and part for q in everyone for part in q)
    assert len({q[0] for q in everyone}) == 200
