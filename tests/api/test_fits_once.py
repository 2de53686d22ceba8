"""A probe's fits are made once for all tasks of a run, and only where the question is the same."""

from collections.abc import Sequence

import torch

from saebench_lite.api.probe_types import Direction, TrainingSet, each, fit_sets
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


def test_of_training_sets_only_those_not_asked_for_before_are_fitted_and_together():
    asked: list[list[int]] = []

    class Fit:
        def __call__(self, x: torch.Tensor, y: torch.Tensor, train_mask: torch.Tensor, /) -> Direction:
            asked.append([len(x)])
            return diff_in_means(x, y, train_mask)

        def fit_sets(self, x: torch.Tensor, sets: Sequence[TrainingSet], /) -> Direction:
            asked.append([len(s.rows) for s in sets])
            return fit_sets(diff_in_means, x, sets)

    probe = ProbeSubject(name="p", kind="baseline", fingerprint="f", probe=Fit()).loaded().probe
    x = torch.randn(9, 3)
    sets = [TrainingSet(torch.arange(n), torch.arange(n) % 2 == 0) for n in (4, 5, 6, 4)]
    probe(x[:5], sets[1].y[None], torch.ones(1, 5, dtype=torch.bool))
    got = fit_sets(probe, x, sets)
    assert asked == [[5], [4, 6]]
    for direction, s in zip(each(got), sets, strict=True):
        want = diff_in_means(x[s.rows], s.y[None], torch.ones(1, len(s.rows)))
        assert torch.equal(direction.weight, want.weight)
        assert torch.equal(direction.bias, want.bias)
    assert torch.equal(probe(x[:6], sets[2].y[None], torch.ones(1, 6, dtype=torch.bool)).bias, got.bias[2:3])
    assert len(asked) == 2
