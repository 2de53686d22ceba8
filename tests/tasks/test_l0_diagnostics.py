"""The task on planted worlds: against numpy in float64, on known decoders, under what must not matter."""

import numpy as np
import pytest
import torch

from saebench_lite import registry
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.protocol import decode_like
from tests.helpers.planted_world import random_sae, subject, values, world

TASK = registry.get("tasks", "l0_diagnostics")


def mean_cosine(rows: np.ndarray) -> float:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return float(np.abs(unit @ unit.T)[np.triu_indices(len(rows), 1)].mean())


def by_hand(x: torch.Tensor, sae: AffineSAE, n: int) -> dict[str, float]:
    """All figures over one block, in float64 numpy."""
    codes = sae.encode(x).numpy()
    rows = sae.W_dec.double().numpy()
    bias = decode_like(sae, torch.zeros(len(x), sae.d_sae), x).double().numpy()
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    z = np.sort(((x.double().numpy() - bias) @ unit.T).ravel())[::-1]
    return {
        "c_dec": mean_cosine(rows),
        "excess": mean_cosine(rows) - np.sqrt(2 / (np.pi * rows.shape[1])),
        "c_dec_alive": mean_cosine(rows[(codes != 0).any(0)]),
        "c_enc": mean_cosine(sae.W_enc.T.double().numpy()),
        "s_n_dec": z[n * len(x)],
        "l0": (codes != 0).sum(1).mean(),
    }


def sparse_sae(**settings: object) -> AffineSAE:
    sae = random_sae()
    stretch = torch.linspace(0.5, 3, sae.d_sae)[:, None]
    tensors = {**sae.tensors, "W_dec": sae.W_dec * stretch, "b_dec": torch.full((16,), 0.3)}
    return AffineSAE(**tensors, activation="topk", k=2, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("normalize", ["none", "layer_norm"])
def test_figures_match_numpy_at_once(normalize: str):
    ctx, _, _ = world()
    sae = sparse_sae(normalize=normalize)
    sae.tensors["b_enc"][3] = -1e6  # a latent that never fires
    config = TASK.config(blocks=1, share=0.4)
    assert values(TASK, subject(sae), ctx, config) == pytest.approx(by_hand(ctx.acts(None).x, sae, 5), abs=1e-5)


def test_blocks_memory_and_the_order_of_latents_do_not_matter():
    ctx, _, _ = world()
    sae = sparse_sae()
    before = values(TASK, subject(sae), ctx, TASK.config(blocks=7))
    ctx.memory = 1 << 14
    order = torch.randperm(sae.d_sae, generator=torch.Generator().manual_seed(0))
    changed = {**sae.tensors, "W_enc": sae.W_enc[:, order], "W_dec": sae.W_dec[order]}
    shuffled = AffineSAE(**changed, activation="topk", k=2)
    assert values(TASK, subject(shuffled), ctx, TASK.config(blocks=7)) == pytest.approx(before, abs=1e-5)


def test_the_true_dictionary_has_no_cosines_and_mixtures_have():
    ctx, oracle, _ = world()
    best = values(TASK, subject(oracle), ctx)
    mixed = oracle.W_dec + 0.3 * oracle.W_dec.roll(1, 0)
    worse = values(TASK, subject(AffineSAE(**{**oracle.tensors, "W_dec": mixed}, activation="relu")), ctx)
    assert best["c_dec"] == pytest.approx(0.0, abs=1e-6)
    assert best["excess"] == pytest.approx(-np.sqrt(2 / (16 * np.pi)), abs=1e-6)
    assert worse["c_dec"] == pytest.approx(12 * 0.3 / (1 + 0.3**2) / 66, abs=1e-6)  # 12 of 66 pairs share a feature


def test_an_l0_above_n_has_no_projection_and_a_note_says_so():
    ctx, _, _ = world()
    notes: list[str] = []
    ctx.note = notes.append
    got = values(TASK, subject(sparse_sae()), ctx, TASK.config(share=0.1))  # n = 1, L0 2
    assert "s_n_dec" not in got
    assert "not below n = 1" in notes[0]


def test_an_sae_without_a_decoder_is_not_applicable():
    ctx, oracle, _ = world()

    class Bare:
        d_in, d_sae, encode, decode = oracle.d_in, oracle.d_sae, oracle.encode, oracle.decode

    with pytest.raises(NotApplicable, match="shows no decoder"):
        values(TASK, subject(Bare()), ctx)  # type: ignore[arg-type]


def test_a_share_above_half_is_refused():
    with pytest.raises(SaebenchError, match="share must be"):
        TASK.config(share=0.6)
