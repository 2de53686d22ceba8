"""What a dry run says that tasks read, beside what they send through the model."""

import dataclasses

import pytest

from saebench_lite import registry
from saebench_lite.api.context import EvalContext
from saebench_lite.models.generation import continued
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.recipes import controls
from saebench_lite.records.types import DataInfo
from saebench_lite.runs import plan as plan_module
from saebench_lite.runs import runner, setup
from saebench_lite.runs.config import RunConfig
from saebench_lite.runs.evaluate import Session
from saebench_lite.runs.job import Job
from saebench_lite.runs.live import Live
from saebench_lite.tasks import _steering_texts
from tests.helpers.planted_world import subject

HOOK = "blocks.2.hook_resid_post"
FEW = DataInfo(name="few", digest="d", datasets=1, concepts=1, corpora=1)
SMALL = {
    "absorption": {"max_words": 300, "examples": 3, "min_probe_f1": 0.1},
    "autointerp": {"encoder": "tf-idf", "max_windows": 100, "latents": 2},
    "causal_effect": {"max_tokens": 600, "blocks": 3, "concepts": 2, "concept_texts": 3},
    "ce_delta": {"max_tokens": 600},
    "disentanglement": {"own_texts": 200, "max_train": 32, "max_test": 32},
    "minimal_pairs": {"match_texts": 40, "pairs_each": 4},
    "steering": {"concepts": 2, "prompts": 2, "new_tokens": 3, "random": 2, "strengths": (0.1, 0.2)},
    "unlearning": {"texts": 6, "retained": 10},
}


@pytest.fixture
def read(monkeypatch) -> list[int]:
    """Tokens of each pass of the model, or of a part of its layers."""
    seen: list[int] = []
    within = []

    def counting(method):
        def counted(self, batch, *args, **more):
            seen.extend([] if within else [int(getattr(batch, "real", batch.attention).sum())])
            within.append(method)
            try:
                return method(self, batch, *args, **more)
            finally:
                within.pop()

        return counted

    for name in ("collect", "prefix", "prefix_and_final", "logits_with", "logits"):
        monkeypatch.setattr(LanguageModel, name, counting(getattr(LanguageModel, name)))

    def writing(lm, ids, hook, added, uniform, temperature):
        seen.append(ids.numel() + uniform.numel())
        return continued(lm, ids, hook, added, uniform, temperature)

    monkeypatch.setattr(_steering_texts, "continued", writing)
    return seen


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_task_says_about_how_many_tokens_it_reads(pico, few_texts, sae, name, read):
    task = registry.get("tasks", name)
    cfg, seeds = task.config(**SMALL[name]), [42, 43] if task.card.seeded else []
    ctx = EvalContext(pico, HOOK, few_texts)
    for corpus in plan_module._corpora(ctx):
        ctx.acts(corpus)
    pico.shared_beginnings()
    del read[:]
    said = task.reads(ctx, cfg, seeds)
    assert read == []  # nothing is read to say it
    task.evaluate(subject(sae), ctx, task.prepare(ctx, cfg, seeds), cfg, seeds)
    more = 3 if name == "unlearning" else 1.3  # pico knows few of the questions
    assert 0.97 * sum(read) <= said.shared + said.each <= more * sum(read)


def test_a_plan_counts_what_tasks_read_and_tells_of_those_that_cannot_say(pico, few_texts, sae):
    ctx, odd = EvalContext(pico, HOOK, few_texts), registry.get("tasks", "reconstruction")
    names = ("ce_delta", "minimal_pairs", "reconstruction")
    tasks = {name: registry.get("tasks", name) for name in names}
    tasks["reconstruction"] = dataclasses.replace(odd, reads=lambda *asked: 1 / 0)
    configs = {name: task.config(**SMALL.get(name, {})) for name, task in tasks.items()}
    job = Job(Session(ctx, FEW, None, force=False), tasks, configs, [subject(sae)], [42])
    got = plan_module.plan([job])
    own = sum(got.task_tokens.values())
    assert f"at most {own:,} more that tasks read besides: minimal_pairs " in got.to_text()
    assert got.model_flops == 2 * pico.parameters * (got.tokens + own)
    assert got.task_tokens.pop("minimal_pairs") > 1000
    assert got.task_tokens == {"ce_delta": 4 * 600, "reconstruction": 0}
    assert got.notes == ["what reconstruction reads besides is not counted: ZeroDivisionError: division by zero"]


def test_a_plan_tells_what_would_fail_and_counts_nothing_of_it(pico, few_texts, tmp_path):
    name = "absent"
    config = RunConfig(saes=(str(tmp_path / name),), tasks=("reconstruction", "ce_delta"), baselines=())
    got = plan_module.plan(job for jobs in setup.set_up(config, Live(data=few_texts, model=pico)) for job in jobs)
    assert [(u["subject"], u["state"]) for u in got.units] == [(name, "fails")] * 2
    assert (got.todo, got.failing, got.model_flops, got.sae_flops, got.seconds) == (0, 2, 0, 0, 0)
    assert (got.tokens, got.cache_bytes) == (0, 0)
    assert "0 of 2 units to do\n2 would fail, for what they score cannot be read or made\n" in got.to_text()
    assert got.to_json()["failing"] == 2


@pytest.mark.parametrize("left", [True, False])
def test_a_plan_trains_no_control_and_says_so(pico, few_texts, left, tmp_path, monkeypatch):
    """What a plan knows of a control is what a run knows: the digest of its record."""
    monkeypatch.setattr(controls, "STEPS", 60)
    name = "frozen_decoder"
    config = RunConfig(saes=(), tasks=("reconstruction",), baselines=(name,), out=tmp_path, cache=tmp_path / "cache")
    live = Live(data=few_texts, model=pico)
    records = [] if left else runner.execute(config, live)
    monkeypatch.setattr(controls, "train_sae", lambda *args, **kwargs: 1 / 0)
    got = plan_module.plan(job for jobs in setup.set_up(config, live, train=False) for job in jobs)
    assert got.notes == [f"{name} is trained first, unless the cache has it; neither that nor its encoding is counted"]
    assert [u["state"] for u in got.units] == ["to do" if left else "done"]
    assert [r.status for r in records] == ([] if left else ["ok"])
    assert got.sae_flops == 0
    assert got.failing == 0
    assert "would fail" not in got.to_text()
