"""Pooled codes of several corpora: encoded once while they fit in memory, again where they do not."""

import pytest
import torch

from saebench_lite.activations.acts import Acts
from saebench_lite.api.context import EvalContext
from saebench_lite.data.types import Corpus, Data
from saebench_lite.saes.affine import AffineSAE
from tests.conftest import HOOK

ONE, TWO = (Corpus(name, tuple(f"{name} text {i} is short." for i in range(4))) for name in ("one", "two"))
TABLE = 4 * 4 * 32
"Bytes of one pooling of four texts."


def counting(monkeypatch) -> list[int]:
    rows: list[int] = []
    real = AffineSAE.encode
    monkeypatch.setattr(AffineSAE, "encode", lambda sae, x: (rows.append(len(x)), real(sae, x))[1])
    return rows


def dictionary(seed: int) -> AffineSAE:
    w = torch.randn(32, 128, generator=torch.Generator().manual_seed(seed))
    return AffineSAE(W_enc=w.T, W_dec=w)


@pytest.mark.parametrize(("memory", "passes"), [(2 * TABLE, 2), (TABLE, 6)])
def test_tables_of_two_corpora_are_held_while_they_fit(pico, monkeypatch, memory, passes):
    ctx, sae, rows = EvalContext(pico, HOOK, Data("d", texts=(ONE, TWO)), memory=memory), dictionary(0), []
    first = {}
    for corpus in (ONE, TWO) * 3:
        ctx.acts(corpus)
        rows = rows or counting(monkeypatch)
        ((_, tables),) = ctx.pooled(sae, corpus, ("max",)).blocks()
        want = first.setdefault(corpus.name, tables["max"])
        assert torch.equal(tables["max"], want)
    encoded = passes // 2 * (ctx.acts(ONE).tokens + ctx.acts(TWO).tokens)
    assert encoded <= sum(rows) <= encoded + 2 * passes  # a row or two tell each time that the codes are dense


def test_another_sae_gets_tables_of_its_own(pico):
    ctx = EvalContext(pico, HOOK, Data("d", texts=(ONE,)))
    a, b = (ctx.pooled(dictionary(seed), ONE, ("max",)) for seed in (0, 1))
    assert a is not b
    assert a.nbytes == 0
    list(b.blocks())
    assert b.nbytes == TABLE


@pytest.mark.parametrize("spare", [1 << 16, 0])
def test_codes_are_held_where_they_fit_beside_the_tables_and_go_first(pico, spare):
    """The tables of both corpora stay; with no room beside them nothing but the tables is held."""
    ctx = EvalContext(pico, HOOK, Data("d", texts=(ONE, TWO)), memory=2 * TABLE + spare)
    few = AffineSAE(W_enc=dictionary(0).W_enc, W_dec=dictionary(0).W_dec, activation="topk", k=2)
    first = ctx.pooled(few, ONE, ("max",))
    list(first.blocks())
    assert (first.codes() is not None) == (first.nbytes > TABLE) == bool(spare)
    if spare:
        ctx.memory = first.nbytes + TABLE - 1
    second = ctx.pooled(few, TWO, ("max",))
    list(second.blocks())
    assert ctx.pooled(few, ONE, ("max",)) is first
    assert (first.codes(), first.nbytes) == (None, TABLE)
    assert first.nbytes + second.nbytes <= ctx.memory


def test_rows_are_spread_over_what_was_read(pico):
    ctx = EvalContext(pico, HOOK, Data("d", texts=(ONE,)))
    assert ctx.rows(3) is None
    acts = ctx.acts(ONE)
    got = ctx.rows(3)
    assert got is not None
    assert len(got) == 3
    assert torch.equal(got[[0, 2]], acts.x[[0, acts.tokens - 1]].float())


def test_texts_taken_by_one_index_are_those_taken_one_by_one():
    acts = Acts(torch.arange(12.0).view(6, 2), torch.tensor([0, 1, 3, 6]))
    chosen = torch.tensor([2, 0, 2, 1])
    one = acts.take(chosen)
    pieces = [acts.x[acts.offsets[i] : acts.offsets[i + 1]] for i in chosen]
    many = Acts(torch.cat(pieces), torch.tensor([0, *(len(p) for p in pieces)]).cumsum(0))
    assert torch.equal(one.x, many.x)
    assert torch.equal(one.offsets, many.offsets)
