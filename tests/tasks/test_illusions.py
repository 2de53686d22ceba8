"""The task on a model whose activations at the first hook are its tokens' embeddings, and its parts by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saebench_lite import registry
from saebench_lite.api.context import EvalContext
from saebench_lite.api.task import Scores
from saebench_lite.data.types import Corpus, Data, Labelled
from saebench_lite.errors import NotApplicable
from saebench_lite.probes.single_latent import Case
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.tasks import illusions
from saebench_lite.tasks._token_injection import injected, strongest_tokens
from tests.helpers.planted_world import subject, values

TASK = registry.get("tasks", "illusions")
EMBEDDINGS = "blocks.0.hook_resid_pre"


@pytest.fixture(scope="module")
def data() -> Data:
    """48 texts, half of which hold a word that no other has; a second concept is a sibling."""
    words = [f"the {a} of the {b}" for a in ("house", "road", "water", "time") for b in ("man", "day", "king", "sea")]
    texts = tuple(f"{w} and {e}" for e in ("gold", "hope", "salt") for w in words)
    corpus, rows = Corpus("made", texts), np.arange(48)
    one = Labelled("t/gold", corpus, rows, rows < 16, None)
    return Data("made", concepts=(one, Labelled("t/hope", corpus, rows, (rows >= 16) & (rows < 32), None)))


def detector(pico, *words: str) -> AffineSAE:
    """Each latent fires on the last token of a word alone."""
    table = pico.net.get_input_embeddings().weight.detach().float()
    unit = table / table.norm(dim=1, keepdim=True)
    ids = [pico.tokenizer(f" {word}", add_special_tokens=False)["input_ids"][-1] for word in words]
    own = (unit[ids] * table[ids]).sum(1)
    return AffineSAE(W_enc=unit[ids].T, W_dec=unit[ids], b_enc=-0.95 * own, activation="relu", subtract_b_dec=False)


def test_a_latent_of_a_word_is_a_detector_that_its_token_reproduces(pico, data):
    ctx = EvalContext(pico, EMBEDDINGS, data)
    got = values(
        TASK,
        subject(detector(pico, "gold", "hope")),
        ctx,
        TASK.config(injected_concepts=2, injected_texts=4),
        seeds=(0,),
    )
    assert got == pytest.approx(
        {"recall": 1.0, "precision": 1.0, "precision_hard": 1.0, "family_size": 1.0, "token_share": 1.0}, abs=1e-6
    )
    prepared = TASK.prepare(ctx, TASK.config(injected_concepts=1), (0, 1))
    assert [p.inject for p in prepared] == [True, False, False, False]
    for problem in prepared:
        chosen = problem.case.rows[problem.hard].tolist()
        low = 16 if problem.concept.name == "t/gold" else 0
        assert chosen
        assert all(low <= row < low + 16 for row in chosen)
        assert not (problem.hard & ~problem.test).any()


def test_precision_recall_and_hard_negatives_by_hand(data):
    """Training: fires on both positives alone. Test: on one of two positives, on one of four negatives, a hard one."""
    column = torch.tensor([2.0, 2.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 2.0])[:, None]
    positive = torch.tensor([1, 1, 0, 0, 1, 1, 0, 0, 0, 0], dtype=torch.bool)
    test = torch.arange(10) >= 4
    hard = torch.tensor([0, 0, 0, 0, 0, 0, 0, 0, 1, 1], dtype=torch.bool)
    problem = illusions.Problem(data.concepts[0], 0, Case(torch.arange(10), positive, 4), test, hard, False)
    out = Scores()
    illusions._add(out, problem, column, TASK.config())
    got = {name: float(out.table(name)[2][0, 0]) for name in out.metrics}
    assert got == pytest.approx(
        {
            "recall": 0.5,
            "precision": 0.05 * 0.5 / (0.05 * 0.5 + 0.95 * 0.25),
            "precision_hard": 0.05 * 0.5 / (0.05 * 0.5 + 0.95 * 0.5),
            "family_size": 1.0,
        }
    )


def test_marked_hard_negatives_come_before_siblings(data):
    one = data.concepts[0]
    part = np.array(["train", "test"] * 22 + ["hard"] * 4)
    marked = Labelled("t/gold", one.corpus, one.rows, one.positive, part)
    problem = illusions._problem(marked, illusions.siblings(one, data.concepts), 0, False, "cpu")
    assert sorted(problem.case.rows[problem.hard].tolist()) == [44, 45, 46, 47]
    assert not (problem.hard & problem.test).any()
    assert len(illusions.siblings(Labelled("gold", one.corpus, one.rows, one.positive, None), data.concepts)) == 0


def test_tokens_are_put_evenly_in_the_place_of_real_ones():
    assert injected([0, 5, 6, 7, 8, 9, 10, 0], [1, 2, 3], {0}) == [0, 5, 1, 7, 2, 9, 3, 0]
    assert injected([0, 5, 0], [1, 2, 3], {0}) == [0, 1, 0]
    pairs = torch.tensor([[4, 1.0], [4, 0.0], [7, 0.6], [2, 0.5], [9, 0.0]], dtype=torch.float64)
    assert strongest_tokens(pairs, 3) == [7, 2, 4]


def test_without_concepts_it_does_not_apply(pico):
    with pytest.raises(NotApplicable, match="has no concepts"):
        TASK.prepare(EvalContext(pico, EMBEDDINGS, Data("none")), TASK.config(), (0,))
