"""The device of a run: the one asked for, or the best that this machine has; what is not there is one sentence."""

import contextlib
import json
import logging

import pytest
import torch
from typer.testing import CliRunner

from saebench_lite.cli import main
from saebench_lite.errors import SaebenchError
from saebench_lite.models import devices, language_model
from saebench_lite.runs import runner, setup
from saebench_lite.runs.ray_engine import _gpus
from tests.conftest import HOOK

BEST = devices.best
"Before `conftest.on_the_cpu` replaces it."


@pytest.fixture
def gpus(monkeypatch):
    """Makes torch say that the machine has n CUDA devices."""

    monkeypatch.setattr(devices, "best", BEST)

    def has(n: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: n > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: n)

    return has


def test_auto_is_cuda_where_there_is_one(gpus):
    gpus(1)
    assert [devices.resolved(d) for d in ("auto", "cuda", "cuda:0", "cpu")] == ["cuda", "cuda", "cuda:0", "cpu"]
    with pytest.raises(SaebenchError, match=r"'cuda:1' is not available on this machine; use --device cpu"):
        devices.resolved("cuda:1")
    gpus(0)
    assert devices.resolved("auto") == "cpu"


@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        ("gpu", "device 'gpu' is not known; use auto, cpu or cuda"),
        ("cuda", "device 'cuda' is not available on this machine"),
        ("mps", "device 'mps' has no float64 numbers"),
    ],
)
def test_what_is_not_there_is_one_sentence_before_any_work(gpus, monkeypatch, device, sentence):
    gpus(0)
    monkeypatch.setattr(setup, "load_data", lambda *args: pytest.fail("data were loaded"))
    with pytest.raises(SaebenchError, match=sentence):
        runner.run(model="pico", hook=HOOK, device=device)


def test_the_first_line_of_a_run_tells_the_device_and_the_record_holds_it(gpus, few_texts, sae, tmp_path, caplog):
    gpus(0)
    caplog.set_level(logging.INFO, "saebench_lite")
    site = {"model": "pico", "hook": HOOK, "data": few_texts, "tasks": ["reconstruction"], "baselines": []}
    (record,) = runner.run({"mine": sae}, **site, cache=tmp_path)
    assert "device: cpu" in caplog.messages
    assert record.provenance is not None
    assert record.provenance.device == "cpu"


def test_the_command_line_says_the_device_unless_it_is_quiet(gpus, tmp_path):
    gpus(0)
    words = ["run", "--tasks", "reconstruction", "--baselines", "none", "--limit", "1", "--dry-run", "--json"]
    words += ["--out", str(tmp_path)]
    done = CliRunner().invoke(main.app, words)
    assert "device: cpu" in done.stderr.splitlines()
    assert json.loads(done.stdout)["to_do"] == 12
    assert CliRunner().invoke(main.app, [*words, "--quiet"]).stderr == ""


def test_a_ray_worker_asks_for_a_gpu_where_it_will_use_one():
    assert [_gpus(d, {"GPU": 2.0}) for d in ("auto", "cuda", "cuda:1", "cpu")] == [1, 1, 1, 0]
    assert [_gpus(d, {}) for d in ("auto", "cuda", "cpu")] == [0, 1, 0]


def test_attention_on_a_gpu_makes_no_plan_for_each_shape_of_a_batch():
    used = torch.backends.cuda.cudnn_sdp_enabled()
    with devices.attention_without_plans(torch.device("cuda")):
        assert not torch.backends.cuda.cudnn_sdp_enabled()
        assert torch.backends.cuda.flash_sdp_enabled()
        assert torch.backends.cuda.mem_efficient_sdp_enabled()
        assert torch.backends.cuda.math_sdp_enabled()
    assert torch.backends.cuda.cudnn_sdp_enabled() is used
    with devices.attention_without_plans(torch.device("cpu")):
        assert torch.backends.cuda.cudnn_sdp_enabled() is used


def test_a_forward_runs_in_that_context(pico, monkeypatch):
    seen: list[torch.device] = []

    def context(device: torch.device) -> contextlib.AbstractContextManager[None]:
        seen.append(device)
        return contextlib.nullcontext()

    monkeypatch.setattr(language_model, "attention_without_plans", context)
    ((_, batch),) = pico.batches([[5, 6, 7]], max_tokens=8)
    pico.collect(batch, [HOOK])
    pico.logits(batch)
    assert seen == [torch.device("cpu")] * 2
