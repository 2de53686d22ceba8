"""Standard errors of scores against fresh samples, plain loops and known answers."""

import time

import numpy as np
import pytest
import torch

from saebench_lite.metrics import resampling
from saebench_lite.metrics.classification import accuracy, auroc, average_precision, best_f1_threshold, f1
from saebench_lite.metrics.resampling import accuracy_error, auroc_error, average_precision_error, f1_error
from saebench_lite.stats.single_unit import interval_over_texts

PI = 0.05


def drawn(draw, p, q, apart=1.5, sparse=False):
    """Normal scores; sparse ones are 0 for most negatives, as codes of a latent are."""
    up, down = draw.normal(apart, 1, p), draw.normal(0, 1, q)
    if sparse:
        up, down = np.maximum(up - 1, 0), np.maximum(down - 1, 0)
    return torch.tensor(up, dtype=torch.float32), torch.tensor(down, dtype=torch.float32)


@pytest.mark.parametrize(("p", "q", "sparse"), [(60, 600, False), (400, 400, False), (70, 770, True)])
def test_errors_are_the_spread_over_fresh_samples(p, q, sparse):
    draw = np.random.default_rng(0)
    samples = [drawn(draw, p, q, sparse=sparse) for _ in range(800)]
    labels = torch.arange(p + q) < p
    joined = [torch.cat(s) for s in samples]
    spread = {
        "average_precision": np.std([average_precision(*s, PI).item() for s in samples]),
        "auroc": np.std([auroc(*s).item() for s in samples]),
        "accuracy": np.std([accuracy(x, labels, 0.5).item() for x in joined]),
        "f1": np.std([f1(x, labels, 0.5).item() for x in joined]),
    }
    some = range(60)
    error = {
        "average_precision": np.mean([average_precision_error(*samples[i], PI) for i in some]),
        "auroc": np.mean([auroc_error(*samples[i]) for i in some]),
        "accuracy": np.mean([accuracy_error(joined[i], labels, 0.5) for i in some]),
        "f1": np.mean([f1_error(joined[i], labels, 0.5) for i in some]),
    }
    for name, value in spread.items():
        assert error[name] == pytest.approx(value, rel=0.1), name


def test_average_precision_error_is_that_of_a_plain_bootstrap():
    draw = np.random.default_rng(1)
    up, down = drawn(draw, 40, 300, sparse=True)  # with ties
    again = [
        average_precision(up[draw.integers(40, size=40)], down[draw.integers(300, size=300)], PI).item()
        for _ in range(1500)
    ]
    assert average_precision_error(up, down, PI) == pytest.approx(np.std(again), rel=0.1)


def test_errors_of_many_rankings_are_those_of_each(monkeypatch):
    """In parts too, with ties."""
    monkeypatch.setattr(resampling, "NUMBERS", 2 * 9 * resampling.DRAWS)
    draw = np.random.default_rng(6)
    pairs = [drawn(draw, 9, 40, sparse=True) for _ in range(6)]
    up, down = (torch.stack(side).view(2, 3, -1) for side in zip(*pairs, strict=True))
    alone = [average_precision_error(*pair, PI) for pair in pairs]
    assert torch.equal(average_precision_error(up, down, PI).flatten(), torch.stack(alone))
    scores, labels = torch.cat([up, down], -1), (torch.arange(49) < 9).expand(2, 3, -1)
    threshold = best_f1_threshold(scores, labels)
    one_by_one = [best_f1_threshold(s, labels[0, 0]) for s in scores.flatten(0, 1)]
    assert torch.equal(threshold.flatten(), torch.stack(one_by_one))
    errors = [f1_error(s, labels[0, 0], t.item()) for s, t in zip(scores.flatten(0, 1), one_by_one, strict=True)]
    assert torch.equal(f1_error(scores, labels, threshold).flatten(), torch.stack(errors))


def test_auroc_error_is_delongs_over_all_pairs():
    up, down = drawn(np.random.default_rng(2), 30, 50, sparse=True)
    wins = (up[:, None] > down).double() + (up[:, None] == down).double() / 2
    variance = wins.mean(1).var() / 30 + wins.mean(0).var() / 50
    assert auroc_error(up, down) == pytest.approx(variance.sqrt().item(), rel=1e-9)


def test_accuracy_and_f1_errors_by_hand():
    scores = torch.tensor([1.0, 1.0, 1.0, -1.0, 1.0, -1.0, -1.0, -1.0, -1.0])
    labels = torch.tensor([True] * 4 + [False] * 5)
    assert accuracy_error(scores, labels) == pytest.approx(np.sqrt(4 * 0.75 * 0.25 + 5 * 0.2 * 0.8) / 9)
    hits, alarms = 3, 1
    slopes = 2 * (4 + alarms) / (4 + hits + alarms) ** 2, 2 * hits / (4 + hits + alarms) ** 2
    assert f1_error(scores, labels) == pytest.approx(np.hypot(slopes[0] * np.sqrt(0.75), slopes[1] * np.sqrt(0.8)))


def test_a_score_that_no_draw_changes_has_no_error():
    apart = torch.arange(5) + 10.0, torch.arange(7) + 0.0
    same = torch.ones(5), torch.ones(7)
    for scores in (apart, same):
        assert average_precision_error(*scores, PI) == pytest.approx(0, abs=1e-7)
        assert auroc_error(*scores) == 0
    labels = torch.tensor([True] * 5 + [False] * 7)
    for error in (accuracy_error, f1_error):
        assert error(torch.cat(apart), labels, 8.0) == 0
        assert error(torch.zeros(12), labels) == 0
        assert error(torch.zeros(3), torch.zeros(3, dtype=torch.bool)) == 0


def test_errors_ignore_order_and_monotone_changes():
    up, down = drawn(np.random.default_rng(3), 50, 80)
    for error in (lambda a, b: average_precision_error(a, b, PI), auroc_error):
        assert error(up.flip(0), down.flip(0)) == error(up, down)
        assert error(up.double().exp(), down.double().exp()) == error(up, down)


def test_errors_cost_next_to_nothing():
    up, down = drawn(np.random.default_rng(4), 500, 2000)
    average_precision_error(up, down, PI)
    before = time.process_time()
    for _ in range(20):
        average_precision_error(up, down, PI)
    assert (time.process_time() - before) / 20 < 0.02


def test_intervals_from_errors_cover_the_score_of_the_population():
    draw = np.random.default_rng(5)
    truth = {False: average_precision(*drawn(draw, 100_000, 100_000), PI).item()}
    truth[True] = auroc(*drawn(draw, 100_000, 100_000)).item()
    inside: dict[bool, list[bool]] = {False: [], True: []}
    for _ in range(300):
        scores = drawn(draw, 80, 800)
        for area, value, error in (
            (False, average_precision(*scores, PI), average_precision_error(*scores, PI)),
            (True, auroc(*scores), auroc_error(*scores)),
        ):
            low, high = interval_over_texts(value.item(), float(error), (0.0, 1.0))
            inside[area].append(low <= truth[area] <= high)
    assert 0.9 < np.mean(inside[False]) < 0.98
    assert 0.92 < np.mean(inside[True]) < 0.98
