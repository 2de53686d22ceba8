"""The benchmark pages can be made: a toy of the GPU page, on the CPU."""

import re


def test_gpu_page_at_toy_size(capsys):
    from tests.benchmarks import gpu

    gpu.main(
        ["--layers=1", "--width=32", "--texts=50", "--latents=64", "--memory=1", "--device=cpu", "--dtype=float32"]
    )
    page = capsys.readouterr().out
    assert "Device: CPU" in page
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")][1:]
    for task in gpu.TASKS:
        subjects = [r[1] for r in rows if r[0] == task]
        assert subjects == ["set-up", "64 jumprelu", "64 topk"]
    for row in rows:
        if row[3]:
            assert float(row[3]) > 0
            assert float(row[2]) > 0
            assert re.fullmatch(r"[\d.]+%", row[4])
