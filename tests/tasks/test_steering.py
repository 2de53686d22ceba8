"""Steering of a tiny model with planted directions."""

# pyright: reportOptionalOperand=false, reportOperatorIssue=false, reportOptionalCall=false
# Scores here have intervals.

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from saebench_lite import registry
from saebench_lite.api.subject import ProbeSubject
from saebench_lite.data.types import Data
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.probes.logistic import diff_in_means
from saebench_lite.runs.evaluate import summarise
from saebench_lite.tasks import steering
from tests.helpers.planted_world import subject
from tests.helpers.steering_model import TOPICS, dictionary, steering_context

TASK = registry.get("tasks", "steering")
CFG = steering.Config(concepts=TOPICS, prompts=10, prompt_tokens=3, new_tokens=8, strengths=(0.15, 0.3, 0.6), random=8)


@pytest.fixture(scope="module")
def site():
    ctx = steering_context()
    return ctx, TASK.prepare(ctx, CFG, [])


def scored(site, who, cfg=CFG):
    ctx, shared = site
    return summarise(TASK.evaluate(who, ctx, shared, cfg, []), TASK.card)[0]


def test_a_planted_model_ranks_dictionaries_by_what_they_know(site):
    oracle, trained, soft, none = (scored(site, subject(dictionary(c))) for c in (1.0, 0.7, 0.5, 0.0))
    assert oracle["score"].value > trained["score"].value > soft["score"].value
    assert oracle["score"].low > soft["score"].high
    assert soft["score"].low > none["score"].high
    assert none["score"].low < 0 < none["score"].high
    assert oracle["presence"].value > 0.8
    assert oracle["dose_response"].value > 0.8
    assert oracle["matched_presence"].value > none["matched_presence"].value
    assert oracle["output_score"].value > none["output_score"].value
    assert oracle["classifier_auroc"].value > 0.95
    assert oracle["random_quality"].value == none["random_quality"].value


def test_difference_in_means_steers_and_a_random_direction_does_not(site):
    def random(x, y, mask):
        made = diff_in_means(x, y, mask)
        seed = int(y.sum()) + int(y.nonzero()[0, 1])
        return made._replace(weight=torch.randn(made.weight.shape, generator=torch.Generator().manual_seed(seed)))

    probes = [ProbeSubject(name="p", kind="baseline", fingerprint="p", probe=p) for p in (diff_in_means, random)]
    means, none = (scored(site, p)["score"] for p in probes)
    assert means.low > 0.1
    assert none.low < 0 < none.high


def test_the_rule_that_looks_at_what_a_latent_writes(site):
    """Two latents detect each topic, and one of them writes it."""
    good, bad = dictionary(1.0), dictionary(0.0)
    both: dict[str, Any] = {name: torch.cat([bad.tensors[name], good.tensors[name]], -1) for name in ("W_enc", "b_enc")}
    rows = torch.cat([bad.tensors["W_dec"], good.tensors["W_dec"]])
    sae = type(good)(**both, W_dec=rows)
    writes = steering.Config(**{**CFG.__dict__, "rule": "writes", "candidates": 2})
    assert scored(site, subject(sae), writes)["score"].value > scored(site, subject(sae))["score"].value + 0.2


def test_scores_are_the_same_again(site):
    ctx, _ = site
    first = scored(site, subject(dictionary(0.8)))
    again = scored((ctx, TASK.prepare(ctx, CFG, [])), subject(dictionary(0.8)))
    assert {k: v.value for k, v in again.items()} == {k: v.value for k, v in first.items()}


def test_directions_and_the_classifier_learn_from_other_texts(site):
    prompts = site[1].writer.prompts
    for target in site[1].targets:
        concept = target.concept
        parts = [set(rows.tolist()) for rows, _ in (concept.finding, concept.judging, concept.test)]
        parts.append(set(prompts.rows.tolist()))
        assert all(parts)
        assert sum(map(len, parts)) == len(set.union(*parts))
        assert not concept.labelled.positive[np.isin(concept.labelled.rows, prompts.rows)].any()


def test_a_judge_rates_what_it_understands(site, monkeypatch):
    replies = iter(["2", "about it: 1", "no idea", "0", "1"] * 99)
    judge = SimpleNamespace(ask=lambda prompts: [next(replies) for _ in prompts])
    monkeypatch.setattr(steering, "open_judge", lambda *a, **k: judge)
    cfg = steering.Config(**{**CFG.__dict__, "judge_model": "m"})
    assert scored(site, subject(dictionary(1.0)), cfg)["judge_presence"].value == pytest.approx(0.5)


def test_sites_that_cannot_serve(site):
    ctx = site[0]
    with pytest.raises(NotApplicable, match="has no labelled data sets"):
        TASK.prepare(type(ctx)(ctx.lm, ctx.hook, Data("empty", texts=ctx.data.texts)), CFG, [])
    with pytest.raises(NotApplicable, match="lower prompts, prompt_tokens or concepts"):
        TASK.prepare(ctx, steering.Config(prompts=999), [])
    with pytest.raises(SaebenchError, match="lower new_tokens"):
        TASK.prepare(ctx, steering.Config(new_tokens=60), [])
    with pytest.raises(SaebenchError, match="is no address"):
        TASK.prepare(ctx, steering.Config(judge_url="here", judge_model="m"), [])
    with pytest.raises(NotApplicable, match="bert writes no text"):
        TASK.prepare(SimpleNamespace(lm=SimpleNamespace(name="bert")), CFG, [])
