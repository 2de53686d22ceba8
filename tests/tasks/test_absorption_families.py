"""Absorption's family endpoint on planted hierarchies, and how well an SAE fits the words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, recall_score
from torch import Tensor

from saebench_lite.activations.acts import Acts
from saebench_lite.activations.pooled_codes import Pooled
from saebench_lite.metrics.classification import f1
from saebench_lite.probes.logistic import scores
from saebench_lite.runs.evaluate import summarise
from saebench_lite.tasks import absorption
from saebench_lite.tasks._absorption_families import main_latents
from saebench_lite.tasks._absorption_fits import Candidates, PreparedWords, fit_balanced, sparse_probes
from saebench_lite.tasks._absorption_words import squared_errors
from tests.helpers.planted_world import subject

CHILDREN, OTHERS, WIDTH, EACH = 40, 20, 64, 20
"One parent with children of as many words each, and other features on as many words in all; a direction each."


def planted_words() -> tuple[Tensor, Tensor, Tensor]:
    """(x [n, WIDTH], which rows the parent is in [n], directions: parent, children, others) with a little noise."""
    g = torch.Generator().manual_seed(5)
    directions = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=g)).Q[: 1 + CHILDREN + OTHERS]
    codes = torch.zeros(2 * CHILDREN * EACH, len(directions))
    words = CHILDREN * EACH
    codes[:words, 0] = 1.0
    codes[torch.arange(words), 1 + torch.arange(words) % CHILDREN] = 1.0
    codes[torch.arange(words, 2 * words), 1 + CHILDREN + torch.arange(words) % OTHERS] = 1.0
    codes *= 1 + 0.2 * torch.rand(codes.shape, generator=g)
    order = torch.randperm(len(codes), generator=g)
    x = codes @ directions + 0.01 * torch.randn(len(codes), WIDTH, generator=g)
    return x[order], (codes[:, 0] > 0)[order], directions


class Planted:
    """A dictionary of the true directions whose codes are edited: `encode` changes them, `decoder` goes with it."""

    def __init__(self, directions: Tensor, decoder: Tensor, edit: Any) -> None:
        self.directions, self.decoder, self.edit = directions, decoder, edit
        self.d_sae, self.d_in = decoder.shape

    def encode(self, x: Tensor) -> Tensor:
        f = x @ self.directions.T
        return self.edit(torch.where(f > 0.5, f, 0.0))

    def decode(self, f: Tensor) -> Tensor:
        return f @ self.decoder


def whole(directions: Tensor) -> Planted:
    return Planted(directions, directions, lambda f: f)


def absorbed(directions: Tensor, children: int) -> Planted:
    """The parent's latent is silent at the first children, whose decoder rows hold its direction too."""
    decoder = directions.clone()
    decoder[1 : 1 + children] += directions[0]

    def edit(f: Tensor) -> Tensor:
        taken = (f[:, 1 : 1 + children] > 0).any(1)
        return torch.cat([torch.where(taken, 0.0, f[:, 0])[:, None], f[:, 1:]], 1)

    return Planted(directions, decoder, edit)


def split(directions: Tensor, parts: int) -> Planted:
    """One latent of the parent's direction for every `parts`-th child, no latent for the children."""
    decoder = torch.cat([directions[:1].expand(parts, -1), directions[1 + CHILDREN :]])

    def edit(f: Tensor) -> Tensor:
        child = f[:, 1 : 1 + CHILDREN]
        own = [torch.where((child[:, i::parts] > 0).any(1), f[:, 0], 0.0) for i in range(parts)]
        return torch.cat([torch.stack(own, 1), f[:, 1 + CHILDREN :]], 1)

    return Planted(directions, decoder, edit)


def figures(sae: Any, x: Tensor, y: Tensor, form: Any = "examples", words: Any = "carried") -> dict[str, float]:
    """The task's figures of an SAE on words whose own probe is fitted here."""
    n = len(x) * 4 // 5
    truth = fit_balanced(x[None].double(), y[None], n)
    reached = f1(scores(truth, x[n:]), y[None, n:])
    acts = Acts(x, torch.arange(len(x) + 1))
    part = PreparedWords(7, acts, x.double(), y[None], n, ["parent"], truth, reached, [True], form=form)
    ctx: Any = SimpleNamespace(memory=1 << 30)
    cfg = absorption.Config(words=words)
    got, _ = summarise(absorption.TASK.evaluate(subject(sae), ctx, [part], cfg, [7]), absorption.TASK.card)
    return {name: score.value for name, score in got.items()}


def test_a_whole_parent_is_known_by_one_latent():
    x, y, directions = planted_words()
    got = figures(whole(directions), x, y)
    assert got["f1_k1"] == got["f1_family"] == got["splits"] == 1.0
    assert got["missed_family"] == got["absorption_fraction"] == got["full_absorption"] == 0.0
    assert got["explained_variance_inputs"] > 0.99


def test_a_split_parent_is_known_by_its_family_alone():
    """Each of four parts finds a quarter of the words: F1 = 2 * 1/4 / (1 + 1/4) of one, 1 of all four together."""
    x, y, directions = planted_words()
    got = figures(split(directions, 4), x, y)
    assert got["splits"] == 4.0
    assert got["f1_k1"] == pytest.approx(0.4, abs=0.05)
    assert got["f1_family"] == 1.0
    assert got["missed_family"] == got["absorption_fraction"] == 0.0


@pytest.mark.parametrize("children", [10, 20])
def test_an_absorbed_parent_is_missed_by_its_family_too(children):
    """A share q of the words is absorbed; no child adds 0.03 to F1, so the family is the parent's latent alone: it
    misses the share q of the words and has F1 = 2 (1 - q) / (2 - q).
    """
    x, y, directions = planted_words()
    n = len(x) * 4 // 5
    codes = x[n:][y[n:]] @ directions[1 : 1 + children].T
    share = (codes > 0.5).any(1).double().mean().item()
    assert share == pytest.approx(children / CHILDREN, abs=0.1)
    got = figures(absorbed(directions, children), x, y)
    assert got["splits"] == 1.0
    assert got["f1_k1"] == got["f1_family"] == pytest.approx(2 * (1 - share) / (2 - share))
    assert got["missed_family"] == pytest.approx(share)
    assert got["full_absorption"] == pytest.approx(share)


def test_an_sae_that_fires_on_fewer_words_absorbs_no_less():
    """Silent on about half of the words: the share among the others stays, that of all words halves."""
    x, y, directions = planted_words()
    plain = absorbed(directions, 20)

    def quiet(f: Tensor) -> Tensor:
        return plain.edit(f) * ((f.sum(1) * 1e4).long() % 2 == 0)[:, None]

    got = figures(Planted(directions, plain.decoder, quiet), x, y)
    whole_share = figures(plain, x, y)["absorption_fraction"]
    assert got["absorption_fraction"] == pytest.approx(whole_share, abs=0.08)
    assert got["f1_k1"] < 0.7 * figures(plain, x, y)["f1_k1"]
    of_all = figures(Planted(directions, plain.decoder, quiet), x, y, words="all")
    assert of_all["absorption_fraction"] == pytest.approx(whole_share / 2, abs=0.08)


def test_a_parent_that_nothing_carries_has_no_share():
    x, y, directions = planted_words()
    got = figures(Planted(directions[1:], directions[1:], lambda f: f), x, y)
    assert "absorption_fraction" not in got
    assert "full_absorption" not in got
    assert got["f1_k1"] < 0.2


def test_in_sentences_the_same_figures_have_other_names():
    x, y, directions = planted_words()
    sae = split(directions, 4)
    got, named = figures(sae, x, y), figures(sae, x, y, "sentences")
    assert named == {name + "_sentences": value for name, value in got.items()}


def test_sparse_probes_have_scikit_learns_figures():
    """F1 is that of the probe's answers, `missed` is one minus the recall among the words the model itself finds."""
    g = torch.Generator().manual_seed(2)
    n, n_train, parents, latents = 300, 200, 3, 5
    y = torch.rand(parents, n, generator=g) < 0.3
    columns = (torch.randn(parents, n, latents, generator=g) + y[..., None]).double()
    order = torch.stack([torch.randperm(latents, generator=g) for _ in range(parents)])
    right = y[:, n_train:] & (torch.rand(parents, n - n_train, generator=g) < 0.7)
    x = torch.zeros(n, 1, dtype=torch.float64)
    truth: Any = None
    part = PreparedWords(0, Acts(x, torch.arange(n + 1)), x, y, n_train, ["a", "b", "c"], truth, x[0], [True] * parents)
    latent_of = torch.arange(latents).expand(parents, -1)
    got = sparse_probes(Candidates(latent_of, columns, order), part, right, "optimum", 4, -1.0)
    assert got.f1.shape == got.missed.shape == (parents, 4)
    for i in range(parents):
        for k in range(1, 5):
            chosen = columns[i, :, order[i, :k]]
            probe = fit_balanced(chosen[None], y[i][None], n_train)
            said = (chosen[n_train:] @ probe.weight[0] + probe.bias[0] > 0).numpy()
            label = y[i, n_train:].numpy()
            assert got.f1[i, k - 1].item() == pytest.approx(f1_score(label, said))
            known = right[i].numpy()
            want = 1 - recall_score(label[known], said[known])
            assert got.missed[i, k - 1].item() == pytest.approx(want)


def test_sparse_probes_stop_where_f1_does_not_rise():
    """The first parent grows to two latents, the second has one; what is fitted is what all fits would give."""
    g = torch.Generator().manual_seed(3)
    n, n_train = 300, 200
    y = torch.rand(2, n, generator=g) < 0.3
    half = torch.rand(n, generator=g) < 0.5
    noise = torch.rand(2, n, 4, generator=g) * 0.1
    columns = noise.double()
    columns[0, :, 0] += y[0] & half
    columns[0, :, 1] += y[0] & ~half
    columns[1, :, 0] += y[1]
    truth: Any = None
    x, right = torch.zeros(n, 1, dtype=torch.float64), y[:, n_train:]
    part = PreparedWords(0, Acts(x, torch.arange(n + 1)), x, y, n_train, ["a", "b"], truth, x[0], [True] * 2)
    latents = Candidates(torch.arange(4).expand(2, -1), columns, torch.arange(4).expand(2, -1))
    got, every = (sparse_probes(latents, part, right, "optimum", 4, jump) for jump in (0.03, -1.0))
    assert got.f1.isnan().tolist() == [[False, False, False, True], [False, False, True, True]]
    assert [main_latents(row, 0.03) for row in got.f1.tolist()] == [2, 1]
    assert [main_latents(row, 0.03) for row in every.f1.tolist()] == [2, 1]
    fitted = ~got.f1.isnan()
    assert torch.equal(got.f1[fitted], every.f1[fitted])
    assert torch.equal(got.missed[fitted], every.missed[fitted])


@pytest.mark.parametrize("memory", [1 << 30, 4 * 50 * 3])
def test_squared_errors_are_those_of_a_plain_loop(memory):
    """Only rows from `first` on count, whether codes are stored or made again."""
    x, _, directions = planted_words()
    x = x[:50]
    sae: Any = whole(directions[:30])
    pooled = Pooled(sae, Acts(x, torch.arange(51)), ("last",), memory)
    for _ in pooled.blocks():
        pass
    rows = x[20:].double().numpy()
    back = sae.decode(sae.encode(x[20:])).double().numpy()
    sse = sum(float(((a - b) ** 2).sum()) for a, b in zip(rows, back, strict=True))
    mean = np.mean(rows, 0)
    total = sum(float(((a - mean) ** 2).sum()) for a in rows)
    assert squared_errors(pooled, 20) == pytest.approx((sse, total), rel=1e-5)


def test_order_and_scale_of_latents_do_not_matter():
    x, y, directions = planted_words()
    plain = absorbed(directions, 20)
    order = torch.randperm(plain.d_sae, generator=torch.Generator().manual_seed(1))
    stretch = torch.linspace(0.5, 2.0, plain.d_sae)
    moved = Planted(
        directions, (plain.decoder / stretch[:, None])[order], lambda f: (plain.edit(f) * stretch)[:, order]
    )
    assert figures(moved, x, y) == pytest.approx(figures(plain, x, y), abs=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_probes_of_parents_are_those_of_scikit_learn_with_balanced_classes(shared):
    """On standardised columns of the training rows alone, C = 1; the rows after them are not looked at."""
    g = torch.Generator().manual_seed(2)
    n, x = 150, torch.randn(1 if shared else 2, 200, 5, generator=g).double() * torch.tensor([1.0, 3, 0.1, 1, 9])
    y = x[..., 0] + torch.randn(2, 200, generator=g) > torch.tensor([[1.0], [-0.5]])
    x[:, n:] = 1e3
    got = scores(fit_balanced(x, y, n), x[0] if shared else x)
    for i, (rows, labels) in enumerate(zip(x.expand(2, -1, -1), y, strict=True)):
        z = ((rows - rows[:n].mean(0)) / rows[:n].std(0, correction=0)).numpy()
        reference = LogisticRegression(C=1.0, class_weight="balanced", tol=1e-10, max_iter=10_000)
        reference.fit(z[:n], labels[:n])
        np.testing.assert_allclose(got[i, :n], reference.decision_function(z[:n]), rtol=1e-4, atol=1e-4)
