"""CE-loss delta on the bundled model against plain patched forwards."""

import pytest
import torch

from saebench_lite.api.context import EvalContext
from saebench_lite.data.types import Corpus, Data
from saebench_lite.errors import NotApplicable
from saebench_lite.models.hookpoints import find_module, parse_hook, writing
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.protocol import reconstruct
from saebench_lite.tasks import ce_delta
from tests.conftest import HOOK
from tests.helpers.planted_world import permuted, subject, values

CFG = ce_delta.Config(max_tokens=600, blocks=4)


@pytest.fixture(scope="module")
def ctx(pico, concepts):
    return EvalContext(pico, HOOK, concepts)


def identity(scale: float = 1.0) -> AffineSAE:
    eye = torch.eye(128)
    return AffineSAE(W_enc=eye, W_dec=scale * eye, activation="identity")


def test_lossless_code_costs_nothing(ctx):
    got = values(ce_delta.TASK, subject(identity()), ctx, CFG)
    assert got["ce_delta"] == pytest.approx(0, abs=1e-5)
    assert got["loss_recovered"] == pytest.approx(1, abs=1e-5)
    assert got["kl"] == pytest.approx(0, abs=1e-5)


def test_zero_and_mean_predictors_recover_nothing(ctx):
    zero = values(ce_delta.TASK, subject(identity(0.0)), ctx, CFG)
    assert zero["loss_recovered"] == pytest.approx(0, abs=1e-5)
    assert zero["ce_spliced"] == pytest.approx(zero["ce_zero"], abs=1e-5)
    shared = ce_delta.prepare(ctx, CFG, [])
    rows = torch.cat([p.prefix.acts[p.batch.real] for p in shared.pieces])
    mean = AffineSAE(W_enc=torch.zeros(128, 1), W_dec=torch.zeros(1, 128), b_dec=rows.mean(0), subtract_b_dec=False)
    assert values(ce_delta.TASK, subject(mean), ctx, CFG)["loss_recovered_mean"] == pytest.approx(0, abs=1e-3)


def test_loss_recovered_follows_from_the_losses_beside_it(ctx, sae):
    got = values(ce_delta.TASK, subject(sae), ctx, CFG)
    for metric, floor in (("loss_recovered", "ce_zero"), ("loss_recovered_mean", "ce_mean")):
        want = (got[floor] - got["ce_spliced"]) / (got[floor] - got["ce_clean"])
        assert got[metric] == pytest.approx(want, rel=1e-6)
    floors = [ce_delta.CARD.metric(m).meaning for m in ("loss_recovered", "loss_recovered_mean")]
    assert ["zero ablation" in floors[0], "mean ablation" in floors[1]] == [True, True]


def test_figures_match_plain_forwards(ctx, pico, sae):
    """One text at a time, the whole model, a hook that writes the reconstruction: the slow way."""
    got = values(ce_delta.TASK, subject(sae), ctx, CFG)
    clean = spliced = kl = count = 0.0
    for piece in ce_delta.prepare(ctx, CFG, []).pieces:
        for ids, attention in zip(piece.batch.ids, piece.batch.attention, strict=True):
            row = ids[attention][None]
            batch = next(iter(pico.batches([row[0].tolist()], max_tokens=999)))[1]
            x = pico.collect(batch, [HOOK])[HOOK]
            real = batch.real[0]
            patched = x.clone()
            patched[0, real] = reconstruct(sae, x[0, real])
            before = pico.logits(batch).double().log_softmax(-1)[0]
            with writing(find_module(pico.net, pico.blocks, parse_hook(HOOK)), "resid_post", patched):
                after = pico.logits(batch).double().log_softmax(-1)[0]
            for t in range(row.shape[1] - 1):
                if real[t]:
                    clean -= before[t, row[0, t + 1]].item()
                    spliced -= after[t, row[0, t + 1]].item()
                    kl += (before[t].exp() * (before[t] - after[t])).sum().item()
                    count += 1
    assert got["ce_clean"] == pytest.approx(clean / count, rel=1e-5)
    assert got["ce_spliced"] == pytest.approx(spliced / count, rel=1e-5)
    assert got["ce_delta"] == pytest.approx((spliced - clean) / count, rel=1e-4)
    assert got["kl"] == pytest.approx(kl / count, rel=1e-4)


def test_permuted_decoder_hurts(ctx, sae):
    good = AffineSAE(**(identity().tensors), activation="identity")
    assert values(ce_delta.TASK, subject(permuted(good)), ctx, CFG)["ce_delta"] > 1


def test_batch_size_changes_nothing(pico, concepts, sae):
    whole = values(ce_delta.TASK, subject(sae), EvalContext(pico, HOOK, concepts), CFG)
    small = values(ce_delta.TASK, subject(sae), EvalContext(pico, HOOK, concepts, batch_tokens=256), CFG)
    assert small == pytest.approx(whole, abs=1e-5)


def test_clean_predictions_that_do_not_fit_in_memory_are_made_again(pico, concepts, sae):
    kept, made = (EvalContext(pico, HOOK, concepts, memory=m, batch_tokens=256) for m in (1 << 30, 1 << 24))
    pieces = [ce_delta.prepare(ctx, CFG, []).pieces for ctx in (kept, made)]
    assert [{p.clean is None for p in each} for each in pieces] == [{False}, {True}]
    assert values(ce_delta.TASK, subject(sae), made, CFG) == values(ce_delta.TASK, subject(sae), kept, CFG)


def test_too_short_texts_are_not_applicable(pico):
    data = Data("x", texts=(Corpus("x", ("a",)),))
    with pytest.raises(NotApplicable, match="long enough"):
        ce_delta.prepare(EvalContext(pico, HOOK, data), CFG, [])
