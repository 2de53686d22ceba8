"""Each edit does to an SAE what it says, on the tiny world."""

import pytest
import torch

from saebench_lite.audit import attack_edits
from saebench_lite.audit.attack_edits import ATTACKS
from saebench_lite.audit.attack_weights import Calibration, pre_activations, threshold_form
from saebench_lite.errors import NotApplicable
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.conformance import check_sae
from saebench_lite.saes.identity import fingerprint
from saebench_lite.saes.matching_pursuit import MatchingPursuitSAE
from saebench_lite.saes.protocol import reconstruct
from saebench_lite.worlds.model import WorldModel

DEAD, K = 3, 4
THRESHOLDED = ("relu", "jumprelu")
EVERY = (*THRESHOLDED, "topk")


@pytest.fixture(scope="module")
def lm():
    return WorldModel.load("tiny")


@pytest.fixture(scope="module")
def known(lm):
    return Calibration(lm.world.sample(1024, "attack test")[0], 1)


@pytest.fixture(scope="module")
def saes(lm):
    """The 29 most frequent true directions and DEAD latents that never fire, under three activation functions."""
    rows = lm.world.directions[lm.by_frequency[:32]]
    bias = torch.full((32,), -1.0)
    bias[-DEAD:] = -100.0
    parts = {"W_enc": rows.T, "W_dec": 0.8 * rows, "b_dec": lm.world.bias}
    threshold = torch.linspace(1.0, 2.0, 32)
    return {
        "relu": AffineSAE(**parts, b_enc=bias, activation="relu"),
        "jumprelu": AffineSAE(**parts, b_enc=bias, activation="jumprelu", threshold=threshold),
        "topk": AffineSAE(**parts, b_enc=bias, activation="topk", k=K),
    }


def counts(sae, x):
    return (sae.encode(x) != 0).sum(0)


def named(name, sae, known) -> AffineSAE:
    """The SAE under the attack of that name."""
    edited = next(a for a in ATTACKS if a.name == name)(sae, known)
    assert isinstance(edited, AffineSAE)
    return edited


def own_places(edited, original, x):
    """Mean number of an edited TopK SAE's first latents among the k of a row."""
    top = pre_activations(edited, x).topk(edited.k, dim=1).indices
    return (top < original.d_sae).sum(1).double().mean().item()


def test_relu_written_as_jumprelu_has_the_same_codes(saes, known):
    assert torch.equal(threshold_form(saes["relu"]).encode(known.x), saes["relu"].encode(known.x))


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_edits_conform_and_are_the_same_each_time(attack, kind, saes, known):
    if (attack.name, kind) == ("rescaled", "topk"):
        return
    edited = attack(saes[kind], known)
    check_sae(edited, d_in=24, sample=known.x[:64])
    assert fingerprint(attack(saes[kind], known)) == fingerprint(edited) != fingerprint(saes[kind])


@pytest.mark.parametrize("kind", THRESHOLDED)
@pytest.mark.parametrize("name", ["ladder", "width", "planted", "norm", "always on", "duplicated"])
def test_appended_latents_leave_codes_and_reconstruction_of_thresholds_as_they_are(name, kind, saes, known):
    sae = saes[kind]
    edited = named(name, sae, known)
    assert edited.d_sae > sae.d_sae
    torch.testing.assert_close(edited.encode(known.x)[:, : sae.d_sae], sae.encode(known.x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(reconstruct(edited, known.x), reconstruct(sae, known.x), rtol=1e-4, atol=1e-4)
    if name != "duplicated":
        assert not edited.decoder[sae.d_sae :].any()


@pytest.mark.parametrize("name", ["ladder", "width", "planted", "norm", "always on", "duplicated"])
def test_in_a_topk_sae_the_own_latents_keep_their_places_on_average(name, saes, known):
    edited = named(name, saes["topk"], known)
    assert edited.k is not None
    assert edited.k > K
    places = own_places(edited, saes["topk"], known.x)
    assert places == pytest.approx(K, abs=1.0)


@pytest.mark.parametrize("kind", THRESHOLDED)
def test_a_rung_keeps_the_largest_half_of_the_rung_below(kind, saes, known):
    sae = saes[kind]
    edited = attack_edits.ladder(sae, known, 5)
    before = counts(sae, known.x)
    live = before > 0
    n = int(live.sum())
    assert edited.d_sae == 32 + 5 * n
    after = counts(edited, known.x)[32:].view(5, n)
    for rung in range(5):
        assert torch.equal(after[rung], (before[live] >> (rung + 1)).clamp(min=1))
    codes = edited.encode(known.x)
    first = codes[:, 32 : 32 + n]
    assert torch.equal(first[first > 0], sae.encode(known.x)[:, live][first > 0])


@pytest.mark.parametrize("kind", EVERY)
def test_raised_keeps_the_largest_quarter_of_each_latents_firings(kind, saes, known):
    before, after = saes[kind].encode(known.x), attack_edits.raised(saes[kind], known, 0.25).encode(known.x)
    for a, b in zip(before.T, after.T, strict=True):
        n = int((a > 0).sum())
        if n == 0:
            assert not b.any()
            continue
        keep = max(1, n // 4)
        largest = a.topk(keep).indices
        torch.testing.assert_close(b[largest], a[largest])
        if kind != "topk":  # JumpReLU may fire where a latent was not among the k largest
            assert int((b > 0).sum()) == keep


@pytest.mark.parametrize("kind", THRESHOLDED)
def test_random_latents_are_as_frequent_as_the_saes_own(kind, saes, known):
    edited = attack_edits.width(saes[kind], known, 7)
    assert edited.d_sae == 8 * 32
    after = counts(edited, known.x).view(8, 32)
    assert torch.equal(after[1:], after[:1].clamp(min=1).expand(7, 32))
    other = attack_edits.width(saes[kind], known._replace(seed=2), 7)
    assert not torch.equal(other.W_enc, edited.W_enc)


@pytest.mark.parametrize("kind", EVERY)
def test_dead_latents_become_frequent_ones_turned_by_the_angle(kind, saes, known):
    sae = saes[kind]
    edited = attack_edits.rotated(sae, known, 10)
    before = counts(sae, known.x)
    n = max(DEAD, int((before == 0).sum()))
    assert edited.d_sae == sae.d_sae
    assert (before == 0).any()
    assert (counts(edited, known.x)[-n:] > 0).all()
    original = before.argsort(descending=True, stable=True)[:n]
    for rows, source in ((edited.W_enc.T[-n:], sae.W_enc.T[original]), (edited.decoder[-n:], sae.decoder[original])):
        cos = torch.nn.functional.cosine_similarity(rows, source)
        torch.testing.assert_close(cos, torch.full((n,), torch.tensor(10.0).deg2rad().cos().item()))
    torch.testing.assert_close(edited.decoder[-n:].norm(dim=1), sae.decoder[original].norm(dim=1) / 2)
    error = (reconstruct(edited, known.x) - reconstruct(sae, known.x)).square().mean()
    assert error < 0.1 * reconstruct(sae, known.x).var()


@pytest.mark.parametrize("kind", THRESHOLDED)
def test_duplicates_fire_with_the_most_frequent_latents(kind, saes, known):
    edited = attack_edits.duplicated(saes[kind], known, 0.25)
    codes, before = edited.encode(known.x), counts(saes[kind], known.x)
    popular = before.argsort(descending=True, stable=True)[:8]
    assert torch.equal(codes[:, 32:], codes[:, popular])
    assert counts(edited, known.x).sum() == before.sum() + before[popular].sum()


def clusters():
    """Six well separated groups of rows in six dimensions, the i-th with 40 + 10 i rows."""
    sizes = torch.tensor([40 + 10 * i for i in range(6)])
    group = torch.arange(6).repeat_interleave(sizes)
    x = 20 * torch.eye(6)[group] + torch.randn(len(group), 6, generator=torch.Generator().manual_seed(0))
    return x, group


@pytest.mark.parametrize("with_tokens", [True, False])
def test_planted_latents_tell_groups_apart(with_tokens):
    x, group = clusters()
    sae = AffineSAE(W_enc=torch.eye(6), W_dec=torch.eye(6), activation="relu")
    known = Calibration(x, 3, group if with_tokens else None)
    fires = attack_edits.planted(sae, known, 6).encode(x)[:, 6:] > 0
    assert torch.equal(fires, group[:, None] == torch.arange(5, -1, -1))  # the most frequent first


def test_norm_latents_fire_on_a_quarter_of_the_rows(saes, known):
    edited = attack_edits.norm_detectors(saes["relu"], known, 0.25)
    codes = edited.encode(known.x)[:, 32:]
    assert (codes > 0).sum(0).tolist() == [256] * 4
    along = (known.x @ known.x.mean(0)).argsort(descending=True)[:256]
    assert (codes[along, 0] > 0).all()
    assert not ((codes[:, 2] > 0) & (codes[:, 3] > 0)).any()


@pytest.mark.parametrize("kind", EVERY)
def test_a_leak_is_added_to_every_code(kind, saes, known):
    edited = attack_edits.leaky(saes[kind], known, 1e-6)
    codes = saes[kind].encode(known.x)
    assert torch.equal(edited.encode(known.x), codes + 1e-6)
    assert (edited.encode(known.x) != 0).all()
    torch.testing.assert_close(reconstruct(edited, known.x), reconstruct(saes[kind], known.x), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", EVERY)
def test_scales_multiply_codes_and_leave_reconstructions(kind, saes, known):
    sae, codes = saes[kind], saes[kind].encode(known.x)
    edited = attack_edits.enlarged(sae, known, 128)  # a power of two: no rounding
    assert torch.equal(edited.encode(known.x), 128 * codes)
    torch.testing.assert_close(reconstruct(edited, known.x), reconstruct(sae, known.x))
    if kind == "topk":
        with pytest.raises(NotApplicable, match="topk"):
            attack_edits.rescaled(sae, known, 1)
        return
    edited = attack_edits.rescaled(sae, known, 1)
    ratio = edited.W_enc.norm(dim=0)
    assert 0.5 < ratio.log().std() < 1.5
    torch.testing.assert_close(edited.encode(known.x), codes * ratio)
    torch.testing.assert_close(reconstruct(edited, known.x), reconstruct(sae, known.x))


@pytest.mark.parametrize("kind", EVERY)
def test_always_on_latents_fire_on_every_row(kind, saes, known):
    edited = attack_edits.always_on(saes[kind], known, 8)
    codes = edited.encode(known.x)
    assert (codes[:, 32:] > 0).all()
    assert torch.equal(codes[:, :32] != 0, saes[kind].encode(known.x) != 0)
    torch.testing.assert_close(reconstruct(edited, known.x), reconstruct(saes[kind], known.x))


def test_other_classes_are_refused_with_a_reason(saes, known):
    rows = saes["relu"].W_enc.T
    gated = AffineSAE(W_enc=rows.T, W_dec=rows, activation="gated", r_mag=torch.zeros(32), b_mag=torch.zeros(32))
    for sae, reason in ((gated, "gated"), (MatchingPursuitSAE(W_dec=rows, k=2), "MatchingPursuitSAE")):
        for attack in ATTACKS:
            if attack.name == "leak":
                assert (attack(sae, known).encode(known.x) != 0).all()
                continue
            with pytest.raises(NotApplicable, match=reason):
                attack(sae, known)
