"""The task on a model that knows made-up facts, and whose attributes lie in known parts of an activation."""

import dataclasses
from pathlib import Path

import pytest
import torch

from saebench_lite import registry
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.tasks import _ravel_sites as sites
from saebench_lite.tasks._ravel_facts import answer, fact, known
from saebench_lite.tasks._ravel_featurisers import (
    answer_loss,
    completed,
    latent_edit,
    subspace_edit,
    train_das,
)
from saebench_lite.tasks._ravel_files import read_entities
from saebench_lite.tasks._ravel_trials import logits_after
from tests.helpers import planted_facts, tiny_ravel
from tests.helpers.planted_facts import D, PlantedFacts
from tests.helpers.planted_world import subject

TASK = registry.get("tasks", "ravel")
FACTS = tiny_ravel.facts_by_animal()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """(ctx, settings) of the planted model and its facts."""
    folder = tiny_ravel.write(tmp_path_factory.mktemp("ravel"), FACTS)
    ctx = planted_facts.site(FACTS)
    sizes = {"entities": 12, "trials": 24, "fewest": 4, "latents": (3, 4), "steps": 12, "dimensions": 3}
    config = TASK.config(folder=str(folder), kinds=("animal",), **sizes)
    return ctx, config


@pytest.fixture(scope="module")
def attributes(site):
    ctx, config = site
    return TASK.prepare(ctx, config, [42])[42]


def oracle(lm: PlantedFacts) -> AffineSAE:
    """A latent for each value."""
    w = torch.stack(list(lm.of.values()))
    return AffineSAE(W_enc=w.T, W_dec=w, activation="relu")


def evaluated(site, attributes, sae):
    ctx, config = site
    return TASK.evaluate(subject(sae), ctx, {42: attributes}, config, [42])


def figures(scores, metric):
    return scores.table(metric)[2][:, 0].tolist()


def test_latents_of_an_attribute_are_perfect_and_random_ones_are_not(site, attributes):
    best = evaluated(site, attributes, oracle(site[0].lm))
    assert figures(best, "disentangle") == [1, 1]
    assert best.table("disentangle")[0] == ["animal Colour", "animal Home"]
    w = torch.randn(8, D, generator=torch.Generator().manual_seed(3))
    random = evaluated(site, attributes, AffineSAE(W_enc=w.T, W_dec=w / 10, activation="relu"))
    assert max(figures(random, "disentangle")) < 0.8
    everything = {"train": [12, 12], "val": [12, 12], "test": [12, 12]}
    assert list(best.diagnostics["known"].values()) == [everything, everything]


def test_no_edit_and_a_whole_swap_have_a_half(site, attributes):
    ctx, _ = site
    silent = AffineSAE(W_enc=torch.zeros(D, 4), W_dec=torch.zeros(4, D), activation="relu")
    for edit in (subspace_edit(torch.zeros(D, 0)), latent_edit(silent, torch.arange(4))):
        for each in attributes:
            assert sites.scored(ctx, each.test, edit)[:3] == (0, 1, 0.5)
    for each in attributes:
        assert sites.scored(ctx, each.test, subspace_edit(torch.eye(D)))[:3] == (1, 0, 0.5)
    assert figures(evaluated(site, attributes, silent), "disentangle") == [0.5, 0.5]


def test_supervised_featurisers_stand_above_random_ones(attributes):
    for each in attributes:
        of = {name: result.disentangle for name, result in each.beside.items()}
        assert of["diff_in_means"] == 1  # values lie in a subspace of their own
        assert min(of["das"], of["dbm"], of["pca"]) >= 0.75 > of["random"] + 0.1


def test_training_makes_the_answers_of_its_swaps_likely(site, attributes):
    ctx, trials = site[0], attributes[0].val

    def loss(edit):
        return sum(answer_loss(logits_after(ctx.lm, "planted", p, edit), p).item() for p in trials.pieces)

    start = completed(torch.zeros(D, 0), 3, torch.Generator().manual_seed(0))
    trained = train_das(ctx.lm, "planted", trials, start, 8)
    torch.testing.assert_close(trained.T @ trained, torch.eye(3))
    assert loss(subspace_edit(trained)) < loss(subspace_edit(start)) - 0.05


def test_an_edit_takes_the_codes_of_some_latents_and_keeps_the_error(site):
    lm, g = site[0].lm, torch.Generator().manual_seed(0)
    x, source = torch.randn(2, 6, D, generator=g)
    sae = oracle(lm)
    got = latent_edit(sae, torch.tensor([0, 5]))(x, source)
    own, other = sae.encode(x), sae.encode(source)
    by_hand = x + sum((other - own)[:, j, None] * sae.W_dec[j] for j in (0, 5))
    torch.testing.assert_close(got, by_hand)


def test_splits_stay_apart_and_swaps_ask_for_what_they_should(site, attributes):
    ctx, config = site
    of = read_entities(Path(config.folder), "animal")
    for each in attributes:
        for split, trials in (("val", each.val), ("test", each.test)):
            assert sum(t.cause for t in trials.of) == 24
            for t in trials.of:
                assert {of.entity_split[e] for e in (t.base.entity, t.source.entity)} == {split}
                right = t.source.value if t.cause else t.base.value
                assert t.answer == answer(ctx.lm, t.base, right)
                assert FACTS[t.source.entity][t.base.attribute] != FACTS[t.base.entity][t.base.attribute]
                assert t.cause == (f"animal {t.base.attribute}" == each.name)


def test_what_the_model_does_not_know_is_left_out_and_counted(site, tmp_path):
    ctx, _ = site
    wrong = {a: {**f, "Home": "sea" if f["Home"] != "sea" else "hill"} for a, f in FACTS.items()}
    asked = [fact(ctx.lm, wrong[a]["Home"], "Home", a, tiny_ravel.PROMPTS["Home"][0]) for a in tiny_ravel.ANIMALS[:4]]
    assert known(ctx.lm, [f for f in asked if f], 100) == [False] * 4
    settings = TASK.config(folder=str(tiny_ravel.write(tmp_path, wrong)), kinds=("animal",), entities=12, trials=8)
    counts = r"animal Colour \(36 of 36 prompts known\), animal Home \(0 of 12 prompts known\)"
    with pytest.raises(NotApplicable, match=f"^planted facts knows too few answers of {counts}$"):
        TASK.prepare(ctx, settings, [42])


def test_bad_input_in_one_sentence(site, tmp_path):
    ctx, config = site
    with pytest.raises(NotApplicable, match=r"^ravel needs a folder of RAVEL's files: unpack data.tgz .*ravel.folder"):
        TASK.prepare(ctx, TASK.config(), [42])
    with pytest.raises(SaebenchError, match=r"gone holds no ravel_\*_entity_attributes.json; unpack data.tgz"):
        TASK.prepare(ctx, TASK.config(folder=str(tmp_path / "gone")), [42])
    with pytest.raises(SaebenchError, match="has no entities called 'city'; it has animal"):
        TASK.prepare(ctx, TASK.config(folder=config.folder), [42])
    broken = tiny_ravel.write(tmp_path / "broken")
    (broken / "ravel_animal_entity_to_split.json").write_text("[1]")
    with pytest.raises(SaebenchError, match=r"ravel_animal_entity_to_split.json holds no mapping"):
        read_entities(broken, "animal")
    (broken / "ravel_animal_entity_to_split.json").unlink()
    with pytest.raises(SaebenchError, match=r"entity_to_split.json cannot be read \(FileNotFoundError\); unpack"):
        read_entities(broken, "animal")


def test_a_seed_fixes_the_draw(site):
    ctx, config = site
    quick = dataclasses.replace(config, steps=1)
    first, again = ([(a.test.of, a.beside) for a in TASK.prepare(ctx, quick, [42])[42]] for _ in range(2))
    assert first == again
    assert [a.test.of for a in TASK.prepare(ctx, quick, [43])[43]] != [of for of, _ in first]
