"""The benchmark pages can be made: a toy of the GPU page, on the CPU."""

import os
import re
import subprocess
import sys
from textwrap import dedent

import pytest
import torch

from saebench_lite.bundled import sae_folders
from tests.benchmarks import operations, where


def test_gpu_page_at_toy_size(capsys, tmp_path):
    from tests.benchmarks import gpu

    toy = ["--layers=1", "--width=32", "--texts=50", "--latents=64", "--memory=1", "--encode=float32,tf32x3"]
    gpu.main([*toy, "--device=cpu", "--dtype=float32", f"--all={tmp_path}"])
    page = capsys.readouterr().out
    assert (tmp_path / "gpu.md").read_text() == page
    assert re.search(r"`tests/test_gpu.py`: \d+ (passed|skipped)", page)
    assert "Device: CPU" in page
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")][1:]
    for task in gpu.TASKS:
        subjects = [r[1] for r in rows if r[0] == task]
        assert subjects == ["set-up", *["64 jumprelu"] * 2, *["64 topk"] * 2]
    for row in rows:
        if row[4]:
            assert float(row[4]) > 0
            assert float(row[3]) > 0
            assert re.fullmatch(r"[\d.]+%", row[5])


def test_peak_memory_is_what_the_work_takes_beside_a_big_parent():
    code = """
        import torch
        from tests.benchmarks.floor import cost
        torch.set_num_threads(1)
        held = torch.ones(1 << 26)
        print(cost(lambda: torch.ones(1 << 25).sum()).peak / 2**20)
    """
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", dedent(code)], env=env, capture_output=True, text=True, check=True)
    assert 120 < float(done.stdout) < 160


def test_parts_of_a_run_add_up(capsys):
    words = ["--sae", str(sae_folders()[0]), "--tasks", "ce_delta", "--baselines", "diff_in_means", "--limit", "1"]
    where.run([*words, "--set", "ce_delta.max_tokens=400"])
    lines = [
        line.split(maxsplit=3) for line in capsys.readouterr().out.splitlines() if re.match(r" +-?[\d.]+ s ", line)
    ]
    *parts, total = [float(words[0]) for words in lines]
    assert sum(parts) == pytest.approx(total, abs=0.01 * len(parts))
    assert ["1", "ce_delta, sae"] in [words[2:] for words in lines]
    assert ["1", "prepare ce_delta"] in [words[2:] for words in lines]


def test_operations_of_an_sae_are_counted_by_task():
    seen = operations.counted(
        [str(sae_folders()[0])], ("reconstruction",), limit=1, settings={"reconstruction": {"max_tokens": 400}}
    )
    assert list(seen) == ["reconstruction"]
    assert 10 < seen["reconstruction"]["wait"] < seen["reconstruction"]["operation"] < 10_000
    with operations.Operations() as here:
        (torch.ones(3, 4).view(4, 3) + 1).sum().item()
    assert here.seen == {"operation": 4, "wait": 1}
