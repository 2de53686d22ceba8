"""A run over Ray workers, one of which is killed in the middle."""

import os
import signal
import sys
from pathlib import Path

import pytest
import torch

from saebench_lite.errors import SaebenchError
from saebench_lite.records.record import read_all
from saebench_lite.runs import runner
from tests.conftest import HOOK


class Deadly:
    """Kills its process once, at its first look at many rows."""

    d_in, d_sae = 128, 4

    def encode(self, x):
        marker = Path(os.environ["DEADLY_MARKER"])
        if len(x) > 20 and not marker.exists():
            marker.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return x[:, :4]

    def decode(self, f):
        return torch.nn.functional.pad(f, (0, 124))

    def fingerprint(self):
        return "deadly"


def make() -> Deadly:
    return Deadly()


def test_without_ray_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SaebenchError, match=r"pip install saebench-lite\[ray\]"):
        runner.run(["x"], model="pico", hook=HOOK, out=tmp_path, engine="ray", workers=2)


def test_live_objects_stay_here(pico, sae, tmp_path):
    with pytest.raises(SaebenchError, match=r"live objects \(saes, model\)"):
        runner.run({"mine": sae}, model=pico, hook=HOOK, out=tmp_path, engine="ray")


class Updates(list):
    """Progress that keeps what it is told."""

    def update(self, stage, done, total):
        self.append((stage, done, total))


def test_a_killed_worker_is_replaced_and_nothing_is_done_twice(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    from saebench_lite.bundled import sae_folders

    marker, cache = tmp_path / "marker", tmp_path / "cache"
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "DEADLY_MARKER": str(marker), "OMP_NUM_THREADS": "1"}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": environment})
    updates = Updates()
    try:
        arguments = {
            "model": "pico",
            "hook": HOOK,
            "tasks": ["reconstruction"],
            "baselines": ["random_topk"],
            "settings": {"reconstruction": {"max_tokens": 1000, "blocks": 4}},
            "limit": 2,
            "cache": cache,
        }
        saes = ["deadly=tests.runs.test_ray_engine:make", *map(str, sae_folders()[:3])]
        records = runner.run(saes, out=tmp_path / "out", engine="ray", workers=2, progress=updates, **arguments)
    finally:
        ray.shutdown()
    assert marker.exists(), "no worker was killed"
    on_disk, complaints = read_all(tmp_path / "out")
    assert complaints == []
    assert len(records) == len(on_disk) == len({r.digest for r in records}) == 5
    assert {r.status for r in records} == {"ok"}
    assert updates[-1] == ("evaluations", 5, 5)
    assert "engine: ray" in (tmp_path / "out" / "run.yaml").read_text()
    monkeypatch.setenv("DEADLY_MARKER", str(marker))
    alone = runner.run(saes, **arguments)
    assert {r.digest: r.scores for r in alone} == {r.digest: r.scores for r in records}
