"""The best latent by bounds is the best of all latents."""

import pytest
import torch

from saebench_lite.metrics.classification import auroc
from saebench_lite.probes import best_auroc
from saebench_lite.probes.best_auroc import largest_auroc

G = torch.Generator().manual_seed(0)


def sets(texts: int = 200, n: int = 60, count: int = 5) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Training sets of texts, some of them several times."""
    return [(torch.randint(0, texts, (n,), generator=G), torch.arange(n) % 3 == 0) for _ in range(count)]


def tables() -> dict[str, torch.Tensor]:
    dense = torch.randn(200, 90, generator=G)
    sparse = (dense - 0.8).relu()
    return {
        "sparse": sparse,
        "dense, some below 0": dense,
        "few values": sparse.round(),
        "a constant": torch.cat([torch.full((200, 1), 2.0), -sparse], 1),
        "all alike": torch.zeros(200, 30),
        "narrow": sparse[:, :3],
    }


@pytest.mark.parametrize("name", tables())
def test_the_first_best_of_all_latents(name, monkeypatch):
    monkeypatch.setattr(best_auroc, "SETS", 4)
    monkeypatch.setattr(best_auroc, "NUMBERS", 500)
    table, asked = tables()[name], [*sets(), *sets(n=48, count=3), *sets()]
    for (texts, positive), best in zip(asked, largest_auroc(table, asked), strict=True):
        rows = table[texts]
        value, latent = auroc(rows[positive].T, rows[~positive].T).max(0)
        assert (best.auroc, best.latent) == (value.item(), int(latent))


@pytest.mark.parametrize("name", tables())
def test_no_auroc_lies_above_its_bound(name):
    table, asked = tables()[name], sets()
    bounds = best_auroc._bounds(best_auroc._parts(table), [(texts[yes], texts[~yes]) for texts, yes in asked])
    for (texts, positive), bound in zip(asked, bounds, strict=True):
        rows = table[texts]
        assert (auroc(rows[positive].T, rows[~positive].T) <= bound).all()


def test_few_latents_are_ranked_where_one_is_good(monkeypatch):
    table = (torch.randn(200, 500, generator=G) - 1).relu()
    positive = torch.arange(200) % 4 == 0
    table[:, 7] = positive * 2.0
    ranked: list[int] = []
    real = best_auroc._auroc
    monkeypatch.setattr(best_auroc, "_auroc", lambda *a: ranked.append(len(a[-1])) or real(*a))
    assert largest_auroc(table, [(torch.arange(200), positive)]) == [best_auroc.Best(1.0, 7)]
    assert ranked == [best_auroc.FIRST, 1]


def test_what_is_not_a_number_is_refused():
    table = torch.ones(4, 2)
    table[0, 1] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        largest_auroc(table, [(torch.arange(4), torch.arange(4) < 2)])
