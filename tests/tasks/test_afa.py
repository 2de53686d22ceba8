"""The task on planted worlds: against numpy, on dictionaries of known alignment, under what must not matter."""

import numpy as np
import pytest
import torch

from saebench_lite import registry
from saebench_lite.errors import NotApplicable
from saebench_lite.saes.affine import AffineSAE, encoder_input_frame
from tests.helpers.planted_world import permuted, random_sae, subject, values, world

TASK = registry.get("tasks", "afa")


def by_hand(x: torch.Tensor, sae: AffineSAE) -> dict[str, float]:
    """All figures over one block, in float64 numpy."""
    f, w, b = sae.encode(x).double().numpy(), sae.W_dec.double().numpy(), sae.b_dec.double().numpy()
    z = encoder_input_frame(x, sae.normalize)[0].double().numpy()
    hat, size = f @ w + b, np.linalg.norm(w, axis=1)
    code = np.sqrt(((f * size) ** 2).sum(1) + (b**2).sum())
    norm, hats = np.linalg.norm(z, axis=1), np.linalg.norm(hat, axis=1)
    directions = np.vstack([w / size[:, None], b / np.linalg.norm(b)])
    eps = np.abs(directions @ directions.T)[np.triu_indices(len(directions), 1)].max()
    gap, active = np.abs(norm**2 - code**2) / code**2, (f != 0).sum(1)
    met = active > 0
    return {
        "alignment": np.median(code / norm),
        "alignment_hat": np.median(code / hats),
        "under_activation": np.maximum(0, 1 - code / norm).mean(),
        "over_activation": np.maximum(0, code / norm - 1).mean(),
        "under_share": (code < norm).mean(),
        "eps_gap": np.median(gap),
        "eps_lbo": np.median(gap / (len(w) - 1)),
        "eps_active": np.median(gap[met] / active[met]),
        "eps_decoder": eps,
        "vacuous": (eps * active >= 1).mean(),
        "nmse": (((z - hat) ** 2).sum(1) / norm**2).mean(),
    }


def sparse_sae(normalize: str = "none") -> AffineSAE:
    sae = random_sae()
    stretch = torch.linspace(0.5, 3, sae.d_sae)[:, None]
    tensors = {**sae.tensors, "W_dec": sae.W_dec * stretch, "b_dec": torch.full((16,), 0.3)}
    return AffineSAE(**tensors, activation="topk", k=3, normalize=normalize)  # type: ignore[arg-type]


@pytest.mark.parametrize("normalize", ["none", "layer_norm"])
def test_figures_match_numpy_at_once(normalize: str):
    ctx, _, _ = world()
    got = values(TASK, subject(sparse_sae(normalize)), ctx, TASK.config(blocks=1))
    assert got == pytest.approx(by_hand(ctx.acts(None).x, sparse_sae(normalize)), rel=1e-5)


def test_orthogonal_features_lie_on_the_diagonal_and_shrunk_ones_below():
    ctx, oracle, _ = world()
    centred = AffineSAE(W_enc=oracle.W_enc, W_dec=oracle.W_dec)  # without a bias the sum of features is exact
    best = values(TASK, subject(centred), ctx)
    assert (best["alignment"], best["alignment_hat"]) == pytest.approx((1.0, 1.0), abs=1e-5)
    assert (best["eps_gap"], best["nmse"], best["eps_decoder"], best["vacuous"]) == pytest.approx((0,) * 4, abs=1e-5)
    half = AffineSAE(W_enc=oracle.W_enc / 2, W_dec=oracle.W_dec)
    shrunk = values(TASK, subject(half), ctx)
    assert shrunk["alignment"] == pytest.approx(0.5, abs=1e-5)
    assert shrunk["alignment_hat"] == pytest.approx(1.0, abs=1e-5)
    assert (shrunk["under_activation"], shrunk["over_activation"]) == pytest.approx((0.5, 0.0), abs=1e-5)
    assert (shrunk["under_share"], shrunk["eps_gap"]) == pytest.approx((1.0, 3.0), abs=1e-4)
    assert shrunk["nmse"] == pytest.approx(0.25, abs=1e-5)


def test_exchanged_decoder_rows_keep_the_alignment_which_is_why_no_direction_is_better():
    ctx, oracle, _ = world()
    before, after = (values(TASK, subject(s), ctx) for s in (oracle, permuted(oracle)))
    assert after["alignment"] == pytest.approx(before["alignment"])
    assert after["nmse"] > before["nmse"] + 0.1
    assert {m.better for m in TASK.card.metrics} == {"neither"}


def test_order_scale_and_memory_do_not_matter():
    ctx, _, _ = world()
    sae = sparse_sae()
    sae.activation, sae.k = "relu", None
    before = values(TASK, subject(sae), ctx, TASK.config(blocks=7))
    order = torch.randperm(sae.d_sae, generator=torch.Generator().manual_seed(0))
    scale = torch.linspace(0.2, 4, sae.d_sae)
    changed = {
        **sae.tensors,
        "W_enc": (sae.W_enc * scale)[:, order],
        "b_enc": (sae.b_enc * scale)[order],
        "W_dec": (sae.W_dec / scale[:, None])[order],
    }
    ctx.memory = 1 << 13
    after = values(TASK, subject(AffineSAE(**changed)), ctx, TASK.config(blocks=7))
    assert after == pytest.approx(before, rel=1e-4)


def test_a_vacuous_bound_is_noted_and_points_are_kept():
    ctx, _, _ = world()
    notes: list[str] = []
    ctx.note = notes.append
    cfg = TASK.config(points=50)
    scores = TASK.evaluate(subject(sparse_sae()), ctx, TASK.prepare(ctx, cfg, ()), cfg, ())
    assert "bound by all directions is vacuous" in notes[0]
    assert scores.diagnostics["bound"] > 1
    z, f = (np.array(scores.diagnostics[key]) for key in ("norms_of_activations", "norms_of_codes"))
    assert len(z) == len(f) == 50
    assert z[0] == pytest.approx(ctx.acts(None).x[0].norm().item(), rel=1e-4)


def test_an_sae_without_a_decoder_is_not_applicable():
    ctx, oracle, _ = world()

    class Bare:
        d_in, d_sae, encode, decode = oracle.d_in, oracle.d_sae, oracle.encode, oracle.decode

    with pytest.raises(NotApplicable, match="shows no decoder"):
        values(TASK, subject(Bare()), ctx)  # type: ignore[arg-type]
