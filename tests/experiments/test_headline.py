"""The headline experiment's parts: planted answers, and a page from made-up rows."""

import json

import numpy as np
import pytest
import torch

from saebench_lite.data.types import Corpus, Labelled
from saebench_lite.probes.single_latent import best_latents, rare_average_precision
from saebench_lite.report.numbers import interval_text
from saebench_lite.stats.intervals import interval
from tests.experiments import headline, headline_controls, headline_parts, headline_smollm2_page
from tests.experiments.headline_analysis import (
    COMPOSED,
    Arranged,
    figures_of,
    lead,
    pooled,
    resolved,
)
from tests.experiments.headline_page import RIVALS, WINNER, page
from tests.experiments.headline_parts import ARCHITECTURES, LENGTHS, Row, Site
from tests.experiments.headline_scores import POOLINGS, PROBES, candidates, rows_of

LEVELS = (4, 8, 16)
DETECTORS = ("average_precision", "auroc", "tuned_f1", "firing_f1", "rare_f1", "rare_ap", "best_auroc", "coalition_f1")


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def test_resolution_in_standard_deviations_of_a_reseeded_score():
    levels = np.array([[0.0], [2.0], [4.0]]) + np.zeros((3, 6))
    noise = np.array([-1.0, 1.0])[:, None, None] / np.sqrt(2)  # standard deviation 1 over two seeds
    over_levels, over_architectures = resolved(levels + noise)
    assert over_levels == pytest.approx(2.0)
    assert over_architectures == pytest.approx(0.0)
    assert resolved(np.stack([levels, levels]))[0] == np.inf


def arranged(seed: int, noise: dict[str, float]) -> Arranged:
    """Scores that are the truth plus noise; random dictionaries have 0."""
    truth = draw(seed, 3, 6)
    scores = {
        c: np.stack([truth + n * draw(seed + 7 * i + s, 3, 6) for s in (1, 2)])
        for i, (c, n) in enumerate(noise.items())
    }
    facts = {name: truth for name in (*COMPOSED, "feature_f1", "f1")}
    return Arranged(
        scores,
        {c: np.zeros((1, 3, 6)) for c in scores},
        dict.fromkeys(scores, 9.0),
        {"composite": truth, **facts},
        truth,
    )


def test_a_perfect_score_leads_a_noisy_one_and_the_interval_says_so():
    sites = [arranged(seed, {"perfect": 0.0, "noisy": 9.0}) for seed in range(4)]
    rho = pooled(sites, ["perfect", "noisy"], "composite")
    assert rho["perfect"] == (1.0, 1.0, 1.0)
    ahead = lead(sites, "perfect", ["noisy"], "composite")["noisy"]
    assert ahead.value == pytest.approx(rho["perfect"].value - rho["noisy"].value)
    assert 0 < ahead.low < ahead.value < ahead.high
    back = lead(sites, "noisy", ["perfect"], "composite")["perfect"]
    assert (back.value, back.low, back.high) == pytest.approx((-ahead.value, -ahead.high, -ahead.low))
    figures = figures_of(sites[0], "perfect")
    assert figures.with_l0 == pytest.approx(1.0)
    assert figures.above_random == pytest.approx((sites[0].truth["mcc"] > 0).mean())


@pytest.fixture(scope="module")
def planted() -> tuple[dict, Labelled]:
    """Latent 3 is the concept, latent 5 half of it; the others are noise."""
    positive = np.arange(600) % 5 == 0
    table = torch.randn(600, 40, generator=torch.Generator().manual_seed(0)).abs()
    table[:, 3] = torch.as_tensor(positive).float() * 2
    table[:, 5] = torch.as_tensor(positive & (np.arange(600) % 2 == 0)).float()
    labelled = Labelled("planted", Corpus("c", tuple(map(str, range(600)))), np.arange(600), positive)
    return dict.fromkeys(POOLINGS, table), labelled


def test_planted_latent_has_every_score_at_its_best(planted):
    tables, labelled = planted
    got = candidates(tables, [labelled], 1)
    assert set(got) == {f"{c}_{p}" for p in POOLINGS for c in (*DETECTORS, *PROBES[p])}
    np.testing.assert_allclose([v for (v,) in got.values()], 1.0)


def test_the_winner_is_the_suites_own(planted):
    tables, labelled = planted
    noisy = {p: t[:, [0, 1, 2, 5, 6]] for p, t in tables.items()}
    case = rows_of(labelled, 1).case
    own = best_latents(noisy["max"], 0, [case])[0].columns[case.n_train :, 0]
    expected = rare_average_precision(own, case.positive[case.n_train :]).item()
    got = candidates(noisy, [labelled], 1)
    assert got["average_precision_max"] == [expected]
    assert got["accuracy_k1_mean"][0] == pytest.approx(0.75, abs=0.05)  # half of the positives, no negatives


def test_even_rows_precede_the_same_test_rows(planted):
    case, balanced = rows_of(planted[1], 1)
    y = balanced.positive[: balanced.n_train]
    assert int(y.sum()) * 2 == len(y)
    assert torch.equal(balanced.rows[balanced.n_train :], case.rows[case.n_train :])
    assert set(balanced.rows[: balanced.n_train].tolist()) <= set(case.rows[: case.n_train].tolist())


def test_page_lists_what_is_ahead_and_what_the_control_beats():
    names = [f"{c}_{p}" for p in POOLINGS for c in (*DETECTORS, *PROBES[p])]
    truths, rows = {}, [Row("oracle", "oracle", 0, False, {c: [1.0, 1.0] for c in names})]
    for i, (level, architecture) in enumerate((lv, a) for lv in LEVELS for a in ARCHITECTURES):
        name, value = f"{architecture}_l0_{level}", (7 * i) % 18 / 18
        truths[name] = {t: value for t in (*COMPOSED, "feature_f1", "f1")} | {"l0": level + 0.1}
        scores = {c: [-value, -value + 0.01] if c == WINNER else [value, value + 0.01] for c in names}
        rows.append(Row(name, architecture, level, False, scores))
        rows.append(Row(name, architecture, level, True, {c: [-0.5] for c in names}))
    site = Site("secret-1", LENGTHS[0], 5, rows)
    every = [headline.scored(site, truths)]
    text = page(every, "command")
    ahead = next(line for line in text.splitlines() if line.startswith("- mcc, secret-1"))
    assert "(-1.00): " in ahead
    assert "rare_f1_mean 1.00" in ahead
    assert every[0].figures["rare_f1_mean"].above_random == 1.0
    assert every[0].figures[WINNER].above_random == pytest.approx(0.5)
    assert all(rival in text for rival in RIVALS)
    stored = json.loads(headline.numbers(every, {"secret-1": truths}))
    assert len(stored["sites"][0]["rows"]) == 37


def test_command_from_training_to_page(tmp_path, monkeypatch):
    monkeypatch.setattr(headline, "WORLDS", ("tiny",))
    monkeypatch.setattr(headline, "LENGTHS", (headline_parts.Length(4, 0.0, 1024),))
    monkeypatch.setattr(headline, "OUT", tmp_path)
    small = {"ARCHITECTURES": ("topk", "batchtopk", "relu"), "SPARSITIES": (1.0, 2.0), "STEPS": 50, "BATCH": 128}
    for name, value in {**small, "CONCEPTS": 3}.items():
        monkeypatch.setattr(headline_parts, name, value)
    command = ["--work", str(tmp_path / "work")]
    headline.main(command)
    made = (tmp_path / "headline.md").read_text()
    stored = json.loads((tmp_path / "headline.json").read_text())
    (site,) = stored["sites"]
    assert len(site["rows"]) == 2 * 6 + 1
    assert set(stored["truths"]["tiny"]) == {row[0] for row in site["rows"]} - {"oracle"}
    monkeypatch.setattr(headline_parts, "candidates", None)  # nothing is computed again
    headline.main(command)
    assert (tmp_path / "headline.md").read_text() == made


def lm_row(name: str, l0: float, values: list[float], random: list[float]) -> headline_smollm2_page.Row:
    return headline_smollm2_page.Row(name, l0, {WINNER: values}, {WINNER: random})


def cells_of(page: str) -> list[list[str]]:
    lines = [line for line in page.splitlines() if line.startswith(f"| {WINNER}")]
    return [[c.strip() for c in line.split("|")[1:-1]] for line in lines]


def test_page_of_a_language_models_saes():
    of = {"topk_64_l0_8": (8.0, 0.5), "topk_64_l0_8_seed_1": (8.0, 0.3), "relu_64_l0_8": (8.2, 0.6)}
    of |= {"topk_64_l0_16": (16.0, 0.7), "topk_64_l0_32": (32.0, 0.2)}
    rows = [lm_row(name, l0, [value - 0.1, value + 0.1], [0.3, 0.4]) for name, (l0, value) in of.items()]
    (cells,) = cells_of(headline_smollm2_page.page(rows))
    assert cells == [WINNER, "0.400, 0.700, 0.200", "topk -0.32", "0.141", "0.071", "0.460", "0.350", "3 of 5"]


def test_trained_soft_frozen_and_random_dictionaries_are_told_apart_only_beyond_the_noise_of_concepts():
    noise = np.random.default_rng(0).normal(0, 0.02, (3, 12))

    def page_of(trained: float, random: float = 0.2) -> str:
        of = {"relu_4096_l0_32": trained, headline_controls.names()[0]: 0.5}
        rows = [lm_row(n, 32.0, list(v + noise[i]), list(random + noise[2])) for i, (n, v) in enumerate(of.items())]
        # of another L0: compared with none
        return headline_smollm2_page.page([*rows, lm_row("relu_4096_l0_8", 8.0, [9.0] * 12, [0.0] * 12)])

    one, none = f"1 of 1 candidates (`{WINNER}`).", "0 of 1 candidates."
    apart, level, below = "both intervals above 0: ", "not told apart: ", "Soft-frozen over trained: "
    assert [t in page_of(0.7) for t in (apart + one, level + none, below + none)] == [True] * 3
    assert [t in page_of(0.5) for t in (apart + none, level + one, below + none)] == [True] * 3
    assert [t in page_of(0.4) for t in (apart + none, level + none, below + one)] == [True] * 3
    assert f"not shown to be over random: {none}" in page_of(0.7)
    assert f"not shown to be over random: {one}" in page_of(0.7, random=0.5)
    cells, _ = cells_of(page_of(0.7))
    want = [0.7 + noise[0].mean(), 0.5 + noise[1].mean(), 0.2 + noise[2].mean()]
    assert [float(c) for c in cells[1:4]] == pytest.approx(want, abs=6e-4)
    d = 0.2 + noise[0] - noise[1]
    assert cells[4] == interval_text(d.mean(), *interval(d, np.ones(12), symmetric=True))
