"""All tasks on a device that refuses tensors from elsewhere: the scores are those of the CPU, nothing is mixed up."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saebench_lite import registry
from saebench_lite.api.context import EvalContext
from saebench_lite.api.probe_types import TrainingSet
from saebench_lite.data.types import Data
from saebench_lite.metrics.classification import auroc
from saebench_lite.probes.newton import minimise
from saebench_lite.probes.shared_rows import fit_each
from saebench_lite.runs import runner
from saebench_lite.saes.sparse_codes import Bags, bags_of
from saebench_lite.tasks import _steering_texts
from saebench_lite.tasks._steering_figures import Prompts
from tests.conftest import HOOK
from tests.helpers import fake_device
from tests.helpers.few_texts import SETTINGS, jumping

pytestmark = pytest.mark.skipif(fake_device.SETUP is None, reason=fake_device.REASON)


class Homebound:
    """An SAE without a `to`: it stays in main memory wherever the model is."""

    d_in, d_sae = 128, 40
    decoder = torch.eye(40, 128)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        assert not isinstance(x, fake_device.Far)
        return torch.relu(x[:, :40])

    def decode(self, f: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(f, (0, 88))


def run(data: Data, sae, device: str, cache, task: str) -> dict:
    baselines = ["diff_in_means", "random_topk"]
    arguments = {"model": "pico", "hook": HOOK, "data": data, "tasks": [task], "settings": {task: SETTINGS[task]}}
    records = runner.run(
        {"jump": jumping(), "topk": sae, "homebound": Homebound()},
        **arguments,
        baselines=baselines,
        seeds=1,
        device=device,
        cache=cache,
        memory=30_000 if task == "concept_detection" else 1 << 30,
    )
    assert {(r.status, r.reason) for r in records} == {("ok", None)}
    return {r.subject.name: r.scores for r in records}


@pytest.mark.parametrize("task", list(SETTINGS))
def test_a_task_far_away_equals_the_cpu(few_texts, sae, tmp_path, task):
    want = run(few_texts, sae, "cpu", tmp_path / "near", task)
    with fake_device.device():
        got = run(few_texts, sae, fake_device.NAME, tmp_path / "far", task)
    assert got.keys() == want.keys()
    for who, scores in got.items():
        assert scores.keys() == want[who].keys()
        for metric, entry in scores.items():
            assert entry.value == pytest.approx(want[who][metric].value, rel=1e-6, abs=1e-6), (who, metric)


@pytest.mark.parametrize("name", ["knn", "lat", "pca_regression"])
def test_a_probe_far_away_equals_the_cpu(name):
    """Probes trained by gradients are not among them: torch counts its devices once, at the first gradient."""
    baseline = registry.get("baselines", name)
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 6, generator=g), torch.arange(40) % 2 == 0

    def fitted(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if baseline.probe is not None:
            return baseline.probe(x, y[None], torch.ones_like(y)[None]).weight
        assert baseline.classify is not None
        return baseline.classify(x, y, x[:9] + 0.1)

    want = fitted(x, y)
    with fake_device.device():
        got = fitted(x.to(fake_device.NAME), y.to(fake_device.NAME))
        assert got.device.type == fake_device.NAME
        torch.testing.assert_close(got.cpu(), want, rtol=1e-6, atol=1e-6, check_dtype=False)


def test_the_device_refuses_what_a_gpu_refuses_and_computes_what_the_cpu_does():
    x, i = torch.randn(3, 4), torch.tensor([2, 0])
    with fake_device.device():
        there = x.to(fake_device.NAME)
        for mixed in (
            lambda: there + x,
            lambda: x[i.to(fake_device.NAME)],
            lambda: torch.cat([x, there]),
            lambda: there @ x.T,
        ):
            with pytest.raises(RuntimeError, match=r"two devices|one that is far"):
                mixed()
        with pytest.raises((TypeError, RuntimeError), match="numpy"):
            there.numpy()
        for same in (there[i], there[[2, 0]], there[i.to(fake_device.NAME)]):
            assert torch.equal(same.cpu(), x[i])
        assert torch.equal((there * torch.tensor(2.0)).cpu(), x * 2)
        assert fake_device.waits.total() == 0 or set(fake_device.waits) == {"elsewhere"}


def test_codes_of_varying_number_are_entries_where_they_lie():
    f = torch.zeros(6, 4096)
    f[torch.tensor([0, 2, 2, 5]), torch.tensor([7, 1, 9, 4000])] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    bags = bags_of(f)
    assert bags is not None
    with fake_device.device():
        there = Bags(*(t.to(fake_device.NAME) for t in bags))
        entries = there.owners(), there.rows(1, 5).indices
        assert {t.device.type for t in entries} == {fake_device.NAME}
        assert [t.cpu().tolist() for t in entries] == [[0, 2, 2, 5], [1, 9]]


def test_directions_from_far_away_steer_prompts_that_are_near(monkeypatch, pico, few_texts):
    """Continuations are drawn from prompts, sizes and uniform numbers in main memory, wherever an SAE's rows lie."""
    added = []

    def continued(_lm, opening, _hook, vectors, uniform, _temperature):
        added.append(vectors)
        return opening[:, :1].expand(-1, uniform.shape[1])

    monkeypatch.setattr(_steering_texts, "continued", continued)
    monkeypatch.setattr(_steering_texts, "likelihood", lambda _lm, ids, _first: torch.zeros(len(ids)))
    prompts = Prompts(torch.ones(2, 3, dtype=torch.long), torch.rand(2, 4), np.arange(2), 1, 0.0)
    rows, sizes = torch.eye(3, 128), torch.tensor([1.0, 2.0])
    ctx = EvalContext(pico, HOOK, few_texts)
    with fake_device.device():
        outcomes = _steering_texts.TextWriter(ctx, pico, prompts).steered(rows.to(fake_device.NAME), sizes)
    assert len(outcomes) == 3
    assert torch.cat(added).norm(dim=1).tolist() == [1.0, 1.0, 2.0, 2.0] * 3


@pytest.mark.parametrize("k", [30, 80])
def test_what_runs_once_a_latent_or_a_step_does_not_wait(k):
    """AUROC of many latents asks the device for nothing, Newton's method for a few truths a step."""
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(4, k, 50, generator=g).double(), (torch.rand(4, 50, generator=g) < 0.5).double()
    with fake_device.device():
        there = [t.to(fake_device.NAME) for t in (x, y, torch.ones_like(y), x.new_zeros(4, k), x.new_full((4,), 1e-8))]
        fake_device.waits.clear()
        auroc(there[0][..., :20], there[0][..., 20:])
        assert not fake_device.waits
        minimise(*there, steps=5)
        assert fake_device.waits.total() <= 6 * 5


def test_logistic_probes_of_training_sets_far_away_equal_those_of_the_cpu():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(200, 70, generator=g)
    drawn = [torch.randint(200, (40,), generator=g), *(torch.randperm(200, generator=g)[:n] for n in (150, 30, 160))]
    sets = [TrainingSet(rows, torch.arange(len(rows)) % 2 == 0) for rows in drawn]
    want = fit_each.fit_sets(x, sets)
    with fake_device.device():
        there = [TrainingSet(*(part.to(fake_device.NAME) for part in s)) for s in sets]
        got = fit_each.fit_sets(x.to(fake_device.NAME), there)
        assert isinstance(got.weight, fake_device.Far)
        torch.testing.assert_close(got.weight.cpu(), want.weight)
