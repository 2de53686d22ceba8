"""Who stands in a run: defaults by site, controls made out of SAEs, whatever order they come in."""

import pytest
import torch

from saebench_lite.api.context import EvalContext
from saebench_lite.errors import SaebenchError
from saebench_lite.runs.subjects import subjects_of
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.protocol import reconstruct
from tests.conftest import HOOK


@pytest.fixture(scope="module")
def ctx(pico, concepts):
    return EvalContext(pico, HOOK, concepts)


def topk(k: int) -> AffineSAE:
    g = torch.Generator().manual_seed(k)
    directions = torch.randn(96, 128, generator=g)
    directions /= directions.norm(dim=1, keepdim=True)
    return AffineSAE(W_enc=directions.T, W_dec=directions, activation="topk", k=k)


SAES = {"few": topk(4), "some": topk(8), "many": topk(40)}
DERIVED = ["matched_random", "permuted_decoder", "best_latents"]


def of(ctx, names, control_of=None, saes=None):
    said: list[str] = []
    found = subjects_of(SAES if saes is None else saes, names, control_of, ctx, said.append)
    return {s.name: s.opened() for s in found}, said


def test_defaults_leave_out_what_trains_and_what_needs_a_world(ctx):
    found, _ = of(ctx, None)
    assert {"logistic", "diff_in_means", "neurons", "pca", "random_topk"} <= set(found)
    assert "permuted_decoder of some" in found
    assert not {"oracle", "frozen_decoder", "mlp", "shuffled_labels", "best_latents of some"} & set(found)


def test_controls_come_from_the_median_l0_in_any_order(ctx):
    turned = {n: SAES[n] for n in ("many", "few", "some")}
    for saes in (SAES, turned):
        found, _ = of(ctx, DERIVED, saes=saes)
        assert set(found) - set(SAES) == {f"{n} of some" for n in DERIVED}
    every, _ = of(ctx, ["matched_random"], ["all"])
    assert set(every) - set(SAES) == {f"matched_random of {n}" for n in SAES}
    with pytest.raises(SaebenchError, match="controls are asked of 'none'"):
        of(ctx, DERIVED, ["none"])


def test_what_derived_controls_are(ctx):
    found, _ = of(ctx, DERIVED, ["many"])
    x = ctx.sample(64)
    sae = SAES["many"]
    f = sae.encode(x)
    random = found["matched_random of many"].require_sae()
    assert (random.encode(x) != 0).sum(1).float().mean().item() == pytest.approx(40, rel=0.15)
    assert random.d_sae == sae.d_sae
    permuted = found["permuted_decoder of many"].require_sae()
    assert torch.equal(permuted.encode(x), f)
    by_hand = f @ permuted.decoder + sae.b_dec  # type: ignore[attr-defined]
    torch.testing.assert_close(reconstruct(permuted, x, f), by_hand)
    assert not (permuted.decoder == sae.decoder).all(1).any()  # type: ignore[attr-defined]
    best = found["best_latents of many"].require_sae()
    fires = (best.encode(x) != 0).any(0)
    assert fires.sum() <= 24
    mass = bench_mass(sae, ctx)
    assert set(fires.nonzero()[:, 0].tolist()) <= set(mass.topk(24).indices.tolist())
    again, _ = of(ctx, DERIVED, ["many"])
    assert {n: s.fingerprint for n, s in again.items()} == {n: s.fingerprint for n, s in found.items()}


def bench_mass(sae, ctx) -> torch.Tensor:
    return sae.encode(ctx.sample()).abs().sum(0) * sae.decoder.norm(dim=1)


def test_what_does_not_apply_is_left_out_with_a_word(ctx):
    found, said = of(ctx, ["oracle"])
    assert "oracle" not in found
    assert said == ["oracle is left out: the true features of pico are not known"]


def test_shuffled_labels_know_nothing():
    from saebench_lite.baselines.shuffled_labels import BASELINE
    from saebench_lite.metrics.classification import auroc
    from saebench_lite.probes.logistic import scores

    assert BASELINE.probe is not None
    x = torch.randn(400, 64, generator=torch.Generator().manual_seed(0)).double()
    y = x[:, :2].T > 0
    use = torch.arange(400).expand(2, -1) < 200
    margin = scores(BASELINE.probe(x, y, use), x)[:, 200:]
    for m, truth in zip(margin, y[:, 200:], strict=True):
        assert abs(auroc(m[truth], m[~truth]).item() - 0.5) < 0.3
