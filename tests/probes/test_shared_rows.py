"""Logistic regressions of many training sets at once: each is scikit-learn's of that set alone."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from saebench_lite.api.probe_types import Direction, TrainingSet, each
from saebench_lite.probes import curvature, newton, shared_rows
from saebench_lite.probes.logistic import scores
from saebench_lite.probes.shared_rows import fit_each
from saebench_lite.probes.validated import GRID, fit_logistic_validated, folds

SIZES = (60, 300, 24, 33, 140, 41)
"Five folds below 128 rows, one from there."


def table_and_sets(d: int) -> tuple[torch.Tensor, list[TrainingSet]]:
    """Sets of several sizes and noise; every other one draws its rows with replacement."""
    g = torch.Generator().manual_seed(7)
    x = torch.randn(400, d, generator=g)
    sets = []
    for i, n in enumerate(SIZES):
        rows = torch.randint(400, (n,), generator=g) if i % 2 else torch.randperm(400, generator=g)[:n]
        noise = (0.3, 2, 6)[i % 3] * torch.randn(400, generator=g)
        sets.append(TrainingSet(rows, (x[:, 0] + x[:, i % d] + noise > 0)[rows]))
    return x, sets


def by_scikit_learn(x: torch.Tensor, y: torch.Tensor) -> tuple[np.ndarray, float]:
    """Scores of the rows x [n, d] themselves and the strength; each row counts as one."""

    def model(c: float, rows: np.ndarray, labels: np.ndarray) -> LogisticRegression:
        return LogisticRegression(C=c, tol=1e-10, max_iter=1000, solver="newton-cholesky").fit(rows, labels)

    z, labels = ((x.double() - x.double().mean(0)) / x.double().std(0, correction=0)).numpy(), y.numpy()
    losses = np.zeros(len(GRID))
    for held in folds(torch.ones_like(y)[None], y[None])[:, 0].numpy():
        for j, c in enumerate(GRID):
            margin = model(c, z[~held], labels[~held]).decision_function(z[held])
            losses[j] += (np.logaddexp(0, margin) - labels[held] * margin).sum()
    strength = GRID[losses.argmin()]
    return model(strength, z, labels).decision_function(z), strength


@pytest.mark.parametrize("d", [6, 70])
def test_each_of_many_sets_is_scikit_learns_fit_of_it_alone(d):
    """With few columns, and with more than some sets have rows, enough for Gram matrices in halves and in float32."""
    assert curvature.WIDE < 70
    x, sets = table_and_sets(d)
    chosen = []
    for direction, s in zip(each(fit_each.fit_sets(x, sets)), sets, strict=True):
        want, strength = by_scikit_learn(x[s.rows], s.y)
        np.testing.assert_allclose(scores(direction, x[s.rows])[0], want, rtol=1e-5, atol=1e-5)
        chosen.append(strength)
    assert len(set(chosen)) > 2


def test_neither_the_order_of_sets_nor_their_company_nor_groups_matter(monkeypatch):
    x, sets = table_and_sets(6)
    want = fit_each.fit_sets(x, sets)

    def alike(got: Direction, which: list[int]) -> None:
        torch.testing.assert_close(got.weight, want.weight[which], rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(got.bias, want.bias[which], rtol=1e-7, atol=1e-9)

    order = [5, 0, 2, 1, 4, 3]
    alike(fit_each.fit_sets(x, [sets[i] for i in order]), order)
    alike(fit_each.fit_sets(x, sets[2:3]), [2])
    unread = torch.cat([torch.full((1, 6), torch.nan), x])
    alike(fit_each.fit_sets(unread, [TrainingSet(1 + s.rows, s.y) for s in sets]), list(range(6)))
    monkeypatch.setattr(newton, "CACHE", 1)
    alike(fit_each.fit_sets(x, sets), list(range(6)))


def test_sets_that_read_much_of_the_same_rows_are_solved_on_shared_columns(monkeypatch):
    """Two of six; the others of about as many rows together, on columns of their own."""
    x, sets = table_and_sets(70)
    shapes = []
    real = shared_rows.validated
    monkeypatch.setattr(
        shared_rows, "validated", lambda x, y, *a, **k: shapes.append((*x.shape[:2], len(y))) or real(x, y, *a, **k)
    )
    want = fit_each.fit_sets(x, sets)
    rows = [s.rows.unique() for s in sets]
    big = [i for i, n in enumerate(SIZES) if n >= 128]
    five = max(len(r) for i, r in enumerate(rows) if i not in big)
    assert shapes == [(1, len(torch.cat([rows[i] for i in big]).unique()), 2), (4, five, 4)]
    shapes.clear()
    monkeypatch.setattr(shared_rows, "SPREAD", 1)
    apart = fit_each.fit_sets(x, sets)
    assert shapes == [(2, max(len(rows[i]) for i in big), 2), (4, five, 4)]
    torch.testing.assert_close(want.weight, apart.weight, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(want.bias, apart.bias, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("k", "odd"), [(6, torch.nan), (6, 1e8), (70, 1e7), (70, torch.inf)])
def test_an_odd_row_of_one_set_leaves_the_fits_of_others_as_they_are(k, odd):
    x, _ = table_and_sets(k)
    y, clean = x[:, 0] + x[:, 1] > 0, x.clone()
    x[350, 0] = odd
    sets = [TrainingSet(rows, y[rows]) for rows in (torch.arange(250), torch.arange(150, 400), torch.arange(300))]
    together, want = fit_each.fit_sets(x, sets), fit_each.fit_sets(clean, [sets[0], sets[2]])
    torch.testing.assert_close(together.weight[[0, 2]], want.weight, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(together.bias[[0, 2]], want.bias, rtol=1e-5, atol=1e-7)


def test_a_column_that_is_constant_in_one_of_the_sets_has_no_weight_in_its_fit():
    x, _ = table_and_sets(6)
    x[:200, 2], x[200:, 2] = 3.0, torch.randn(200, generator=torch.Generator().manual_seed(1))
    y = x[:, 0] > 0.1 * x[:, 2]
    sets = [TrainingSet(rows, y[rows]) for rows in (torch.arange(200), torch.arange(150, 400), torch.arange(140, 390))]
    together = fit_each.fit_sets(x, sets)
    assert abs(together.weight[0, 2]) < 1e-9
    assert (together.weight[1:, 2].abs() > 0.01).all()
    for i, s in enumerate(sets):
        alone = fit_each.fit_sets(x, [s])
        torch.testing.assert_close(together.weight[i], alone.weight[0], rtol=1e-6, atol=1e-8)


def test_a_row_with_both_labels_is_not_solved_on_shared_columns(monkeypatch):
    x, _ = table_and_sets(6)
    rows = torch.cat([torch.arange(200), torch.arange(2)])
    y = torch.cat([x[:200, 0] > 0, x[:2, 0] <= 0])
    sets = [TrainingSet(rows, y), TrainingSet(torch.arange(190), x[:190, 1] > 0)]
    shapes = []
    real = shared_rows.validated
    monkeypatch.setattr(shared_rows, "validated", lambda x, *a, **k: shapes.append(len(x)) or real(x, *a, **k))
    fit_each.fit_sets(x, [sets[1], sets[1]])
    assert shapes == [1]
    both = fit_each.fit_sets(x, sets)
    assert shapes == [1, 2]
    torch.testing.assert_close(both.weight[:1], fit_each.fit_sets(x, sets[:1]).weight, rtol=1e-6, atol=1e-8)


def test_two_rows_leave_a_fold_nothing_to_learn_from_and_are_fitted_all_the_same():
    x = torch.tensor([[0.0, 1], [2, 1]])
    fitted = fit_each.fit_sets(x, [TrainingSet(torch.arange(2), torch.tensor([False, True]))])
    margin = scores(fitted, x)[0]
    assert margin[0] < 0 < margin[1]
    assert margin.isfinite().all()


@pytest.mark.parametrize("n", [40, 300])
def test_rows_of_a_bootstrap_sample_are_fitted_once_and_count_as_often_as_drawn(n, monkeypatch):
    """One fold and five; the last row also stands with the other label, which is a row of its own."""
    g = torch.Generator().manual_seed(6)
    x = torch.randn(n, 5, generator=g)
    y = x[:, 0] + 2 * torch.randn(n, generator=g) > 0
    drawn = torch.cat([torch.randint(0, n, (n,), generator=g), torch.tensor([n - 1])])
    labels = y[drawn].clone()
    labels[-1] = ~y[-1]
    use = torch.ones(1, n + 1, dtype=torch.bool)
    use[0, :7] = False
    want = fit_logistic_validated(x[drawn][None], labels[None], use)
    rows = []
    real = shared_rows.validated
    monkeypatch.setattr(shared_rows, "validated", lambda x, *a, **k: rows.append(x.shape[1]) or real(x, *a, **k))
    by_value, by_row = fit_each(x[drawn], labels[None], use), fit_each.fit_sets(x, [TrainingSet(drawn[7:], labels[7:])])
    assert rows == 2 * [len({(i, label) for i, label in zip(drawn[7:].tolist(), labels[7:].tolist(), strict=True)})]
    for got in (by_value, by_row):
        torch.testing.assert_close(got.weight, want.weight, rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(got.bias, want.bias, rtol=1e-7, atol=1e-9)
