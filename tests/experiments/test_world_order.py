"""The check of order on many worlds: made-up records with known counterexamples; the worlds it draws do differ."""

import dataclasses

import numpy as np
import torch

from saebench_lite.baselines.permuted_decoder import SparsePermutedDecoder, derive
from saebench_lite.records.metric import Better
from saebench_lite.records.types import Kind
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.conformance import check_sae
from saebench_lite.saes.sparse_codes import reconstruct_rows, sparse_codes
from saebench_lite.worlds.concepts import build
from saebench_lite.worlds.model import WorldModel
from saebench_lite.worlds.oracle import OracleSAE
from saebench_lite.worlds.spec import TINY
from saebench_lite.worlds.world import World
from tests.experiments import world_order
from tests.helpers.record_factory import made_up

NAMES: dict[str, Kind] = {"topk": "sae", "relu": "sae", "oracle": "oracle"}
NAMES |= {"matched_random of topk": "control", "permuted_decoder of topk": "control"}


def records(task: str, metric: str, better: Better, values: list[float]) -> list:
    out = []
    for (name, kind), value in zip(NAMES.items(), values, strict=True):
        table = {metric: np.full((3, 1), value)}
        out.append(made_up(name, table, task=task, kind=kind, seeds=(1,), metrics={metric: better}))
    return out


def test_order_whatever_the_direction():
    (good,) = world_order.orders(records("task", "auroc", "higher", [0.8, 0.7, 0.9, 0.6, 0.8]))
    assert (good.oracle_first, good.random_last) == (True, True)
    (beaten,) = world_order.orders(records("task", "auroc", "higher", [0.95, 0.7, 0.9, 0.75, 0.8]))
    assert (beaten.oracle_first, beaten.random_last) == (False, False)
    (turned,) = world_order.orders(records("task", "delta", "lower", [0.2, 0.3, 0.1, 0.4, 0.2]))
    assert (turned.oracle_first, turned.random_last) == (True, True)
    assert round(turned.best, 9) == -0.2
    assert world_order.orders(records("task", "l0", "neither", [1, 2, 3, 4, 5])) == []


def test_only_metrics_of_recovery_are_asked():
    of = records("reconstruction", "explained_variance", "higher", [0.8, 0.7, 0.9, 0.6, 0.8])
    assert len(world_order.orders(of)) == 1
    for r in of:
        metric = r.task.metrics["explained_variance"]
        r.task.metrics["explained_variance"] = dataclasses.replace(metric, construct="fidelity")
    assert world_order.orders(of) == []


def test_permuting_must_leave_the_code_alone_and_spoil_what_is_written():
    (code,) = world_order.permutations(records("sparse_probing", "auroc", "higher", [0.8, 0.7, 0.9, 0.6, 0.8]))
    assert (code.reads, code.same, code.as_expected) == ("code", True, True)
    (moved,) = world_order.permutations(records("sparse_probing", "auroc", "higher", [0.8, 0.7, 0.9, 0.6, 0.8 - 1e-8]))
    assert not moved.as_expected
    (rows,) = world_order.permutations(records("truth", "mcc", "higher", [0.8, 0.7, 0.9, 0.6, 0.8]))
    assert (rows.reads, rows.as_expected) == ("rows", True)
    (both,) = world_order.permutations(records("ce_delta", "delta", "lower", [0.2, 0.3, 0.1, 0.4, 0.5]))
    assert (both.reads, both.as_expected) == ("both", True)
    (better,) = world_order.permutations(records("ce_delta", "delta", "lower", [0.2, 0.3, 0.1, 0.4, 0.3]))
    assert not better.as_expected


def test_counterexamples_are_named():
    order = {"one": world_order.orders(records("task", "auroc", "higher", [0.95, 0.7, 0.9, 0.6, 0.8]))}
    moved = {"one": world_order.permutations(records("ce_delta", "delta", "lower", [0.2, 0.3, 0.1, 0.4, 0.3]))}
    text = world_order.page({"one": "a world"}, order, moved, "1 s.", "the command")
    assert "The oracle is first in 0 of 1 cases; not: task auroc in one." in text
    assert "The random control is last in 1 of 1 cases." in text
    assert "no better than the random control's in 0 of 1 cases; not: ce_delta delta in one." in text


def test_fresh_worlds_differ_and_can_be_asked_for_concepts():
    specs = [world_order.fresh(n) for n in range(101, 111)]
    assert len({s.features for s in specs}) > 2
    assert {s.roots == 0 for s in specs} == {True, False}
    assert len({s.noise for s in specs}) == len({s.correlation for s in specs}) == 10
    assert world_order.fresh(101) == specs[0]


def test_oracle_reads_one_sample_of_odd_width():
    model = WorldModel(World(dataclasses.replace(TINY, d=25)), "odd")
    assert build(model, 512).texts
    oracle = OracleSAE(model, 24, 2)
    x = model.activations(1)[:5]
    both = oracle.encode(x)
    assert both.any()
    assert torch.equal(torch.cat([oracle.encode(row[None]) for row in x]), both)


def test_permuted_decoder_goes_the_sparse_way_of_its_sae():
    g = torch.Generator().manual_seed(0)
    w_enc, w_dec, x = (torch.randn(*shape, generator=g) for shape in ((6, 12), (12, 6), (5, 6)))
    sae = AffineSAE(W_enc=w_enc, W_dec=w_dec, activation="topk", k=3)
    permuted = derive(sae, None, 1)  # type: ignore[arg-type]
    assert isinstance(permuted, SparsePermutedDecoder)
    check_sae(permuted, d_in=6)
    ours, theirs = sparse_codes(sae, x), sparse_codes(permuted, x)
    assert ours is not None
    assert theirs is not None
    assert torch.equal(ours.values, theirs.values)
    assert torch.allclose(reconstruct_rows(permuted, x), permuted.encode(x) @ w_dec[permuted.order], atol=1e-5)
    assert not torch.allclose(reconstruct_rows(permuted, x), reconstruct_rows(sae, x), atol=0.1)
