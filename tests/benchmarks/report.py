"""Floors beside measured cost, by part and by scale.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.report > results/bench/speed.md

Process seconds of one thread; each row is one go in a process of its own, so figures vary by a tenth or so.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from saebench_lite.acts import Acts
from saebench_lite.data import Corpus, Data, Labelled
from saebench_lite.metrics import auroc
from saebench_lite.pool import pooled_codes
from saebench_lite.pooled import Pooled
from saebench_lite.probes import fit_logistic_validated
from saebench_lite.sae import AffineSAE
from saebench_lite.task import Subject
from saebench_lite.tasks import reconstruction, sparse_probing
from tests.benchmarks.floor import Ceilings, cost

D, K = 64, 32
G = torch.Generator().manual_seed(0)


def random_sae(m: int, activation: str = "topk") -> AffineSAE:
    """Random unit directions that read D dimensions."""
    w = torch.nn.functional.normalize(torch.randn(m, D, generator=G))
    extra: dict[str, Any] = {"k": K} if activation == "topk" else {}
    if activation == "jumprelu":
        extra = {"threshold": torch.full((m,), 2.0)}
    return AffineSAE(W_enc=w.T, W_dec=w, activation=activation, **extra)  # type: ignore[arg-type]


def bench_of(texts: int, tokens: int = 8, memory: int = 1 << 30) -> Any:
    """Random activations of texts, ten labelled datasets on them."""
    offsets = torch.arange(0, texts * tokens + 1, tokens)
    acts = Acts(torch.randn(texts * tokens, D, generator=G), offsets)
    corpus = Corpus("random", tuple(f"text {i}" for i in range(texts)))
    rows = np.arange(texts)
    mean = acts.x.view(texts, tokens, D).mean(1)
    labelled = tuple(Labelled(f"sign of {j}", corpus, rows, (mean[:, j] > 0).numpy()) for j in range(10))
    data = Data("random", datasets=labelled, texts=(corpus,))
    return SimpleNamespace(
        data=data,
        d_in=D,
        device="cpu",
        memory=memory,
        acts=lambda corpus, keep="all": acts,
        share=lambda *args: None,
        pooled=lambda sae, corpus, how, keep="all": Pooled(sae, acts, how, memory),
        note=lambda s: None,
    )


def evaluate(task: Any, bench: Any, saes: list[AffineSAE], **config: Any) -> None:
    cfg = task.config(**config)
    prepared = task.prepare(bench, cfg, [42])
    for sae in saes:
        task.evaluate(Subject(name="s", kind="sae", fingerprint="", sae=sae), bench, prepared, cfg, [42])


def line(*cells: object) -> None:
    print("| " + " | ".join(f"{c:.3g}" if isinstance(c, float) else str(c) for c in cells) + " |")


def table(title: str, *columns: str) -> None:
    print(f"\n## {title}\n")
    line(*columns)
    line(*("---" for _ in columns))


def parts(top: Ceilings) -> None:
    table("Parts", "part", "GFLOP", "floor s", "measured s", "measured / floor", "extra peak MiB")
    n = 16_384
    acts = Acts(torch.randn(n, D, generator=G), torch.arange(0, n + 1, 32))
    for m in (1024, 4096, 16_384, 65_536):
        for activation in ("relu", "jumprelu", "topk"):
            sae = random_sae(m, activation)
            row(
                top,
                f"encode and pool (mean, max), {n} tokens, d_sae {m}, {activation}",
                lambda sae=sae: pooled_codes(sae, acts, ("mean", "max")),
                flops32=2 * n * D * m,
                moved=4 * n * m,
            )
    for k in (1, 10, 50):
        x = torch.randn(76, 1024, k, generator=G)
        y = x.sum(-1) + k**0.5 * torch.randn(76, 1024, generator=G) > 0
        use = torch.ones_like(y)
        grams = 76 * (6 * 4 * 0.8 + 2)
        row(
            top,
            f"76 validated probes, 1024 rows, k {k} (floor: 4 Gram matrices a strength)",
            lambda x=x, y=y, use=use: fit_logistic_validated(x, y, use),
            flops64=grams * 2 * 1024 * (k + 1) ** 2,
            moved=8 * grams * 1024 * (k + 1),
        )
    a, b = torch.rand(4096, 512, generator=G), torch.rand(4096, 512, generator=G)
    row(top, "AUROC of 4096 latents, 512 + 512 texts", lambda: auroc(a, b), moved=4 * 4096 * 1024)


def row(top: Ceilings, name: str, work: Any, flops32: float = 0.0, flops64: float = 0.0, moved: float = 0.0) -> None:
    floor, spent = top.floor(flops32, flops64, moved), cost(work)
    line(name, (flops32 + flops64) / 1e9, floor, spent.seconds, spent.seconds / floor, spent.peak / 2**20)


def scale(top: Ceilings) -> None:
    table("One SAE more", "task", "tokens", "d_sae", "SAEs", "encode floor s", "measured s", "extra peak MiB")
    cases = [(4096, 1024, 1), (4096, 1024, 2), (4096, 1024, 4), (2048, 1024, 1), (8192, 1024, 1)]
    cases += [(4096, 4096, 1), (4096, 16_384, 1), (2048, 65_536, 1)]
    for task, config in ((reconstruction.TASK, {}), (sparse_probing.TASK, {})):
        for texts, m, count in cases:
            bench, saes = bench_of(texts), [random_sae(m) for _ in range(count)]
            spent = cost(lambda task=task, bench=bench, saes=saes, config=config: evaluate(task, bench, saes, **config))
            floor = top.floor(count * 2 * texts * 8 * D * m)
            line(task.card.name, texts * 8, m, count, floor, spent.seconds, spent.peak / 2**20)


def million(top: Ceilings) -> None:
    """Codes of 2^20 latents within a budget far below what a dense table takes."""
    m, texts, memory = 1 << 20, 512, 1 << 28
    bench, sae = bench_of(texts, memory=memory), random_sae(1 << 20)
    table("A million latents, 256 MiB budget", "work", "floor s", "measured s", "extra peak MiB", "dense table MiB")

    def pooled() -> None:
        for _, tables in Pooled(sae, bench.acts(None), ("mean",), memory).blocks():
            tables["mean"].sum()

    tokens = texts * 8
    for name, work, dense in (
        ("pooled mean, top-k", pooled, texts * m * 4 / 2**20),
        ("reconstruction, top-k", lambda: evaluate(reconstruction.TASK, bench, [sae]), tokens * m * 4 / 2**20),
    ):
        spent = cost(work)
        line(name, top.floor(2 * tokens * D * m), spent.seconds, spent.peak / 2**20, dense)


def main() -> None:
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    top = Ceilings.measure()
    print(
        "# Cost against the floor\n\n`OMP_NUM_THREADS=1 python -m tests.benchmarks.report > results/bench/speed.md`\n"
    )
    print(f"Ceilings of one thread: {top.flops32 / 1e9:.0f} GFLOP/s float32, {top.flops64 / 1e9:.0f} GFLOP/s float64, ")
    print(
        f"{top.bytes / 1e9:.0f} GB/s copy. Floor: the larger of arithmetic and traffic at these rates. Random weights,"
    )
    print(f"d_in {D}, top-k with k {K}, 8 tokens a text; seconds are process seconds of one thread.")
    parts(top)
    scale(top)
    million(top)


if __name__ == "__main__":
    main()
