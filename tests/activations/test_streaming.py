"""Sparse codes, chunks and blocks change cost, never a score; memory is bounded and gives way when it runs out."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from saebench_lite.activations import oom_backoff, pooling
from saebench_lite.activations.oom_backoff import with_backoff
from saebench_lite.activations.pooled_codes import Pooled
from saebench_lite.activations.pooling import chunk_size, pool_chunk, pooled_codes
from saebench_lite.errors import SaebenchError
from saebench_lite.probes import latent_selection
from saebench_lite.progress import messages_to, notes_into
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.protocol import reconstruct
from saebench_lite.saes.sparse_codes import (
    Bags,
    bags_of,
    encoded,
    joined,
    pool_bags,
    reconstruct_rows,
    restrict_to,
    sparse_codes,
)
from saebench_lite.tasks import concept_detection, reconstruction, sparse_probing
from tests.helpers.few_acts import HOW, some_acts, topk
from tests.helpers.planted_world import random_sae, subject, values, world


@pytest.mark.parametrize("how", HOW)
def test_pooling_of_sparse_codes_equals_pooling_of_dense_ones(how):
    sae, acts = topk(), some_acts()
    _, x, owner = next(acts.chunks(10_000))
    codes = encoded(sae, x)
    assert isinstance(codes, Bags)
    want = pool_chunk(sae.encode(x), owner, len(acts), how)
    torch.testing.assert_close(pool_bags(codes, owner, len(acts), 40, how), want, rtol=1e-6, atol=1e-6)
    for some in (range(7, 19), torch.tensor([0, 7, 31, 39])):
        got = pool_bags(restrict_to(codes, some, 40), owner, len(acts), len(some), how)
        torch.testing.assert_close(got, want[:, torch.as_tensor(some)], rtol=1e-6, atol=1e-6)


def test_rows_of_codes_joined_are_the_codes():
    """Rows without any code among them, at the ends too."""
    f = torch.zeros(7, 40)
    f[[1, 1, 3, 5], [2, 30, 0, 39]] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    bags = bags_of(f)
    assert bags is not None
    assert bags.owners().tolist() == [1, 1, 3, 5]
    for cuts in ((0, 7), (0, 1, 2, 7), (0, 0, 4, 6, 7)):
        parts = [bags.rows(low, high) for low, high in pairwise(cuts)]
        for part, (low, high) in zip(parts, pairwise(cuts), strict=True):
            dense = torch.zeros(high - low, 40).index_put_((part.owners(), part.indices), part.values)
            assert torch.equal(dense, f[low:high])
        assert all(torch.equal(a, b) for a, b in zip(joined(parts), bags, strict=True))


@pytest.mark.parametrize("normalize", ["none", "layer_norm"])
def test_sparse_reconstruction_equals_the_dense_one(normalize):
    sae, x = topk(normalize=normalize), some_acts().x
    torch.testing.assert_close(reconstruct_rows(sae, x), reconstruct(sae, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("normalize", ["none", "layer_norm"])
@pytest.mark.parametrize("bias", [-100.0, -18.0, -13.0, 0.0])
def test_reconstruction_entry_by_entry_equals_the_matrix_product(normalize, bias):
    """Codes that are all zero, few, a row or two without any, and too many to go entry by entry."""
    plain = topk(m=200)
    sae = AffineSAE(
        W_enc=plain.W_enc, W_dec=plain.W_dec, b_enc=torch.full((200,), bias), b_dec=plain.b_dec, normalize=normalize
    )
    x = some_acts().x
    f = sae.encode(x)
    assert (bags_of(f) is None) == (bias == 0.0)
    torch.testing.assert_close(reconstruct_rows(sae, x), reconstruct(sae, x, f), rtol=1e-5, atol=1e-5)


def test_saes_without_sparse_codes_take_the_dense_way():
    relu = AffineSAE(W_enc=torch.eye(16), W_dec=torch.eye(16))
    assert sparse_codes(relu, some_acts().x) is None
    signed = topk()
    signed.encode_sparse = lambda x: (-torch.ones(len(x), 1), torch.zeros(len(x), 1, dtype=torch.long))
    assert sparse_codes(signed, some_acts().x) is None


@pytest.mark.parametrize("memory", [1 << 30, 8_000, 2_000])
def test_blocks_of_a_topk_sae_equal_the_whole_and_encode_once(memory, monkeypatch):
    sae, acts = topk(), some_acts()
    f = sae.encode(acts.x)
    owner = torch.repeat_interleave(torch.arange(len(acts)), acts.offsets.diff())
    rows = 0
    real = AffineSAE.encode_sparse

    def counting(self, x):
        nonlocal rows
        rows += len(x)
        return real(self, x)

    monkeypatch.setattr(AffineSAE, "encode_sparse", counting)
    pooled = Pooled(sae, acts, HOW, memory)
    found = list(pooled.blocks())
    for how in HOW:
        got = torch.cat([tables[how] for _, tables in found], 1)
        torch.testing.assert_close(got, pool_chunk(f, owner, len(acts), how), rtol=1e-6, atol=1e-6)
    assert [i for block, _ in found for i in block] == list(range(40))
    encoded = rows
    some = torch.tensor([0, 3, 4, 17, 39])
    for ids, tables in pooled.columns(some):
        for how in HOW:
            torch.testing.assert_close(tables[how], pool_chunk(f, owner, len(acts), how)[:, ids], rtol=1e-6, atol=1e-6)
    assert set(some.tolist()) <= {i for ids, _ in pooled.columns(some) for i in ids.tolist()}
    rows = encoded
    if memory == 1 << 30:
        assert rows == acts.tokens
    elif memory == 8_000:  # the codes do not fit beside the tables: each block is encoded anew
        assert len(found) > 1
        assert rows > acts.tokens


def test_a_wide_topk_sae_is_encoded_once_for_all_blocks(monkeypatch):
    sae, acts = topk(m=4000), some_acts()
    rows = []
    real = AffineSAE.encode_sparse
    monkeypatch.setattr(AffineSAE, "encode_sparse", lambda self, x: rows.append(len(x)) or real(self, x))
    assert len(list(Pooled(sae, acts, ("max",), 100_000).blocks())) > 5
    assert sum(rows) <= acts.tokens + 1


@pytest.mark.parametrize(
    ("task", "config"),
    [
        (sparse_probing.TASK, sparse_probing.Config(ks=(1, 5))),
        (concept_detection.TASK, None),
        (reconstruction.TASK, None),
    ],
)
@pytest.mark.parametrize(
    "sae", [topk(), topk(normalize="layer_norm"), AffineSAE(W_enc=topk().W_enc, W_dec=topk().W_dec)]
)
def test_scores_do_not_depend_on_chunks_blocks_or_the_sparse_way(task, config, sae, monkeypatch):
    ctx, _, _ = world(texts=100)
    want = values(task, subject(sae), ctx, config, seeds=(42,))
    for memory, rows in ((1 << 30, 3), (20_000, 64), (3_000, 1)):
        ctx.memory = memory
        for module in (pooling, reconstruction):
            monkeypatch.setattr(module, "chunk_size", lambda *a, rows=rows: rows)
        assert values(task, subject(sae), ctx, config, seeds=(42,)) == pytest.approx(want, rel=1e-6, abs=1e-6)
    monkeypatch.setattr(AffineSAE, "encode_sparse", lambda self, x: (_ for _ in ()).throw(SaebenchError("no")))
    assert values(task, subject(sae), ctx, config, seeds=(42,)) == pytest.approx(want, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("strip", [1, 5_000, 1 << 21])
def test_class_differences_equal_numpy(strip, monkeypatch):
    monkeypatch.setattr(latent_selection, "STRIP", strip)
    g = torch.Generator().manual_seed(2)
    table = torch.randn(50, 33, generator=g).relu()
    rows = torch.randperm(50, generator=g)[:30]
    positive = torch.arange(30) % 3 == 0
    x, y = table[rows].double().numpy(), positive.numpy()
    difference = x[y].mean(0) - x[~y].mean(0)
    spread = np.sqrt((x[y].var(0) + x[~y].var(0)) / 2)
    magnitude = np.abs(x).sum(0) / (x != 0).sum(0)
    scales: dict[latent_selection.Selection, object] = {"raw": 1, "normalised": magnitude, "standardised": spread}
    for selection, scale in scales.items():
        got = latent_selection.class_differences(table, rows, positive, selection)
        np.testing.assert_allclose(got, difference / scale, rtol=1e-6)


def test_chunks_stay_within_the_memory_budget():
    cpu = torch.device("cpu")
    assert chunk_size(1024, cpu) == 4096
    assert chunk_size(1 << 20, cpu) == 64
    assert chunk_size(1 << 20, cpu, memory=1 << 26) == 4
    assert chunk_size(1 << 20, cpu, memory=1) == 1


def test_work_is_tried_again_with_half_the_rows_and_noted_once():
    tried: list[int] = []
    notes: list[str] = []
    logged: list[str] = []

    def work(rows: int) -> int:
        tried.append(rows)
        if rows > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return rows

    with messages_to(logged.append), notes_into(notes):
        assert with_backoff(work, 100) == 12
    assert tried == [100, 50, 25, 12]
    assert notes == logged == ["memory ran out while encoding; smaller chunks were used"]

    def broken(rows: int) -> int:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        with_backoff(broken, 100)
    with pytest.raises(MemoryError):
        with_backoff(lambda rows: (_ for _ in ()).throw(MemoryError()), 4)
    assert oom_backoff.is_out_of_memory(
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")
    )


def test_memory_that_runs_out_in_a_task_leaves_the_scores_and_a_note(monkeypatch):
    ctx, oracle = world(texts=200)[0], random_sae()
    want = values(reconstruction.TASK, subject(oracle), ctx)
    notes: list[str] = []
    real = AffineSAE.encode

    def short(self, x):
        if len(x) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, x)

    monkeypatch.setattr(AffineSAE, "encode", short)
    with notes_into(notes):
        got = values(reconstruction.TASK, subject(oracle), ctx)
    assert got == pytest.approx(want, rel=1e-6, abs=1e-6)
    assert notes == ["memory ran out while encoding; smaller chunks were used"]
    assert pooled_codes(oracle, ctx.acts(None), ("max",))["max"].shape == (200, 12)
