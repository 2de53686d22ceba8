"""The table of the gate's rival, with a rival that is known."""

import numpy as np
import torch

from saebench_lite.saes.affine import AffineSAE
from tests.experiments.gate_faults import FAULTS
from tests.experiments.gate_power import HONEST, with_faults
from tests.experiments.gate_rival import rows


def sae(seed: int) -> AffineSAE:
    g = torch.Generator().manual_seed(seed)
    w = torch.nn.functional.normalize(torch.randn(64, 16, generator=g))
    return AffineSAE(W_enc=w.T.clone(), W_dec=w, b_enc=torch.zeros(64), b_dec=torch.ones(16), activation="topk", k=6)


def test_a_rival_that_compares_rows_in_place_sees_what_touches_the_decoder():
    table = rows([with_faults(sae(i), i) for i in range(3)], lambda a, b: float(not np.array_equal(a, b)))
    seen = {str(fault): (others, itself) for fault, others, itself in table}
    assert list(seen) == [HONEST, *FAULTS]
    decoder = {"decoder rows permuted", "6 of 64 decoder rows zeroed"}
    assert seen == {f: ("6 of 6", "3 of 3" if f in decoder else "0 of 3") for f in seen}


def test_a_rival_that_never_fails():
    assert {(a, b) for _, a, b in rows([with_faults(sae(i), i) for i in range(2)], lambda a, b: 0.4)} == {
        ("0 of 2", "0 of 2")
    }
