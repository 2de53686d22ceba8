"""A probe's fits are made once for all tasks of a run, and only where the question is the same."""

import torch

from saebench_lite.api.probe_types import Direction
from saebench_lite.api.subject import ProbeSubject
from saebench_lite.probes.logistic import diff_in_means


def test_the_same_question_is_fitted_once():
    asked: list[int] = []

    def fit(x: torch.Tensor, y: torch.Tensor, train_mask: torch.Tensor) -> Direction:
        asked.append(len(x))
        return diff_in_means(x, y, train_mask)

    subject = ProbeSubject(name="p", kind="baseline", fingerprint="f", probe=fit)
    x, y = torch.randn(6, 3), torch.tensor([[True, False] * 3])
    probe, every = subject.loaded().probe, torch.ones_like(y)
    assert probe is not None
    first = probe(x, y, every)
    again = probe(x.clone(), y.clone(), every.clone())
    assert len(asked) == 1
    assert torch.equal(first.weight, again.weight)
    for other in ((x + 1e-6, y, every), (x.T.reshape(6, 3), y, every), (x, ~y, every), (x, y, every & y)):
        probe(*other)
    probe(x.double(), y, every)
    assert len(asked) == 6
    wanted = diff_in_means(x, ~y, every)
    assert torch.equal(probe(x, ~y, every).weight, wanted.weight)
    assert len(asked) == 6
    subject.loaded().probe(x, y, every)
    assert len(asked) == 7
