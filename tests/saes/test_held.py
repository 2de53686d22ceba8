"""What is scored gets copies, must leave them as they are, and must give finite numbers on real activations."""

from typing import Any

import pytest
import torch

from saebench_lite.errors import SaebenchError, contained
from saebench_lite.metrics.classification import (
    accuracy,
    auroc,
    average_precision,
    best_f1_threshold,
    best_rare_threshold,
    f1,
    fires_rare_f1,
)
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.conformance import check_sae
from saebench_lite.saes.held import HeldSAE
from saebench_lite.saes.protocol import DecodesBags, DecodesLike, EncodesLatents, EncodesSparse, device_of

D = torch.nn.functional.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)))
SMALL = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
LARGE = 30 * SMALL


class Plain:
    d_in, d_sae = 8, 6

    def encode(self, x):
        return torch.relu(x @ D.T)

    def decode(self, f):
        return f @ D


class Clamps(Plain):
    """Touches nothing that the conformance check shows it."""

    def encode(self, x):
        return super().encode(x.clamp_(-10, 10))


class Overflows(Plain):
    def encode(self, x):
        return torch.where(x.norm(dim=-1, keepdim=True) > 20, torch.nan, super().encode(x))


class OneBadLatent(Plain):
    def encode(self, x):
        f = super().encode(x).clone()
        f[:, 3] = torch.where(x[:, 0].abs() > 10, torch.inf, f[:, 3])
        return f


class BadDecoder(Plain):
    def decode(self, f):
        return torch.where(f.sum(-1, keepdim=True) > 20, torch.nan, f @ D)


class ScalesCodes(Plain):
    def decode(self, f):
        if f.max() > 10:
            f /= f.max()
        return f @ D


@pytest.mark.parametrize("sae", [Clamps(), Overflows(), OneBadLatent(), BadDecoder(), ScalesCodes()])
def test_faults_on_large_activations_alone_are_found_and_named(sae):
    check_sae(sae)  # they conform on random rows
    held = HeldSAE(sae, "mine")
    held.decode(held.encode(SMALL))
    rows = LARGE.clone()
    with pytest.raises(SaebenchError, match=r"(en|de)code of mine (writes to its input|gives \d+ of \d+ numbers)"):
        held.decode(held.encode(rows))
    assert torch.equal(rows, LARGE)


def test_the_count_and_the_first_place_are_told():
    with pytest.raises(SaebenchError, match=r"gives 1 of 30 numbers that are NaN or infinite .* the first at \[2, 3\]"):
        HeldSAE(OneBadLatent(), "mine").encode(torch.cat([SMALL[:2], torch.full((1, 8), 11.0), SMALL[:2]]))


def test_short_cuts_are_kept_where_there_are_any_and_watched():
    sae = AffineSAE(W_enc=D.T.clone(), W_dec=D.clone(), activation="topk", k=2)
    held: Any = HeldSAE(sae, "mine")
    plain = HeldSAE(Plain(), "plain")
    for protocol in (EncodesLatents, EncodesSparse, DecodesLike, DecodesBags):
        assert isinstance(held, protocol) == isinstance(sae, protocol)
        assert not isinstance(plain, protocol)
    assert torch.equal(held.encode(SMALL), sae.encode(SMALL))
    values, indices = held.encode_sparse(SMALL)
    rest = indices.flatten(), 2 * torch.arange(len(SMALL)), SMALL
    assert torch.equal(held.decode_bags(values.flatten(), *rest), sae.decode_bags(values.flatten(), *rest))
    assert device_of(held) == device_of(sae)
    with pytest.raises(SaebenchError, match="NaN or infinite"):
        held.decode_bags(values.flatten() * torch.nan, *rest)


def test_half_precision_sums_that_overflow_are_no_fault():
    class Half(Plain):
        def decode(self, f):
            return torch.full((len(f), 8), 60000.0, dtype=torch.float16)

    assert HeldSAE(Half(), "half").decode(torch.zeros(4, 6)).isfinite().all()


def test_scores_with_nan_have_no_rank():
    good, labels = torch.tensor([0.1, 0.4, 0.3, 0.9]), torch.tensor([True, False, True, False])
    bad = good.clone()
    bad[2] = torch.nan
    for call in (auroc, lambda a, b: average_precision(a, b, 0.05)):
        assert 0 <= call(good, good) <= 1
        for pair in ((good, bad), (bad, good)):
            with pytest.raises(ValueError, match=r"NaN \(1 of 4\)"):
                call(*pair)
    assert auroc(torch.tensor([torch.inf]), good) == 1  # infinity has a rank
    for call in (
        accuracy,
        f1,
        best_f1_threshold,
        lambda s, y: best_rare_threshold(s[:, None], y, 0.05),
        lambda s, y: fires_rare_f1(s[:, None], y, 0.05),
    ):
        call(good, labels)
        with pytest.raises(ValueError, match="NaN"):
            call(bad, labels)


def test_code_that_ends_the_process_is_a_failure_like_any_other():
    class Panic(BaseException):
        """Stands for a panic of Rust code, which is no Exception."""

    for error in (SystemExit(3), Panic("index")):
        with pytest.raises(RuntimeError, match="would end the process"), contained():
            raise error
    with pytest.raises(KeyboardInterrupt), contained():
        raise KeyboardInterrupt


def test_negative_codes_are_remembered():
    class Signed(Plain):
        def encode(self, x):
            return x @ D.T

    for sae, signed in ((Plain(), False), (Signed(), True)):
        held = HeldSAE(sae, "mine")
        assert not held.signed
        held.decode(-held.encode(SMALL))  # a reconstruction may be negative
        assert held.signed is signed


class Believed(Plain):
    """Optional members that say something else than encode and decode."""

    def __init__(self, **members):
        for name, member in members.items():
            setattr(self, name, member)


TOP = torch.tensor([0, 1])
PLAIN = Plain()


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({"decode_like": lambda f, x: x}, "decode_like does not give anything of the codes"),
        ({"encode_latents": lambda x, j: PLAIN.encode(x)[:, j] + 1}, "encode_latents does not give what encode gives"),
        ({"encode_sparse": lambda x: (torch.ones(len(x), 2), TOP.expand(len(x), 2) + 9)}, "indices of latents"),
        (
            {"encode_sparse": lambda x: (torch.ones(len(x), 2), TOP.expand(len(x), 2))},
            "encode_sparse does not give what",
        ),
        ({"encode_sparse": lambda x: (torch.ones(len(x), 2), TOP.expand(len(x), 2).float())}, "indices of latents"),
        ({"decode_bags": lambda v, j, s, x: x}, "decode_bags does not give what decode_like gives"),
    ],
)
def test_members_that_contradict_encode_and_decode_are_refused(members, sentence):
    with pytest.raises(SaebenchError, match=sentence):
        check_sae(Believed(**members))


def test_members_that_agree_are_accepted():
    check_sae(
        Believed(
            decode_like=lambda f, x: PLAIN.decode(f),
            encode_latents=lambda x, j: PLAIN.encode(x)[:, j],
            encode_sparse=lambda x: (PLAIN.encode(x), torch.arange(6).expand(len(x), 6)),
            decode_bags=lambda v, j, s, x: PLAIN.decode(PLAIN.encode(x)),
        )
    )
    check_sae(AffineSAE(W_enc=D.T.clone(), W_dec=D.clone(), activation="relu"))
