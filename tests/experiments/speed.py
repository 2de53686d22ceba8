"""Floors beside measured cost, by part, by task and by scale.

    OMP_NUM_THREADS=1 python -m tests.experiments.speed > results/bench/speed.md
    OMP_NUM_THREADS=1 python -m tests.experiments.speed wide > results/bench/memory.md

Process seconds of one thread; each row is one go in a process of its own, so figures vary by a tenth or so.
"""

from __future__ import annotations

import sys
from typing import Any

import torch

from saebench_lite.activations.acts import Acts
from saebench_lite.activations.pooling import pooled_codes
from saebench_lite.api.context import EvalContext
from saebench_lite.api.subject import SAESubject
from saebench_lite.metrics.classification import auroc
from saebench_lite.probes.sparse_ranking import fit_sparse_ranking
from saebench_lite.probes.validated import fit_logistic_validated
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.tasks import absorption, ce_delta, concept_detection, reconstruction, sparse_probing
from tests.benchmarks import work
from tests.benchmarks.floor import Ceilings, Cost, cost
from tests.benchmarks.made import HOOK, L0, WIDTH, G, given_bench, made_data, random_sae, wide_model

TASKS: tuple[tuple[Any, Any, dict[str, Any]], ...] = (
    (reconstruction.TASK, work.reconstruction_work, {}),
    (ce_delta.TASK, work.ce_delta_work, {}),
    (sparse_probing.TASK, work.sparse_probing_work, {}),
    (concept_detection.TASK, work.concept_detection_work, {}),
    (absorption.TASK, work.absorption_work, {"min_probe_f1": 0.0}),
)
ACTIVATIONS = ("relu", "jumprelu", "topk")


def scored(todo: list[tuple[Any, Any, Any]], ctx: EvalContext, saes: list[AffineSAE]) -> Cost:
    """Cost of scoring SAEs, one after the other, on (task, config, prepared)s, with all that they share at hand."""

    def go() -> None:
        for sae in saes:
            subject = SAESubject(name="s", kind="sae", fingerprint="", sae=sae)
            for task, cfg, prepared in todo:
                task.evaluate(subject, ctx, prepared, cfg, [42])
            ctx.release()

    return cost(go)


def line(*cells: object) -> None:
    print("| " + " | ".join(f"{c:.3g}" if isinstance(c, float) else str(c) for c in cells) + " |", flush=True)


def table(title: str, *columns: str, about: str = "") -> None:
    print(f"\n## {title}\n" + (f"\n{about}\n" if about else ""))
    line(*columns)
    line(*("---" for _ in columns))


def five_tasks(top: Ceilings) -> None:
    """One SAE more at a real width, all five tasks."""
    lm = wide_model()
    ctx = EvalContext(lm, HOOK, made_data(lm, texts=256, words=4000))
    ready = [(task, floor_of, cfg := task.config(**c), task.prepare(ctx, cfg, [42])) for task, floor_of, c in TASKS]
    for task, _, cfg, _ in ready:
        ctx.register_poolings(task.pooling_requests(ctx, cfg))
    sharing, ctx._requested = ctx._requested, {}
    acts = ctx.acts(ctx.data.texts[0])
    table(
        "One SAE more, five tasks",
        *("task", "d_sae", "activation", "GFLOP", "floor s", "measured s", "measured / floor", "extra peak MiB"),
        about=f"d_in {WIDTH}, a GPT-NeoX of that width with random weights; {acts.tokens} tokens in {len(acts)} texts"
        f" for four tasks,\n{len(ready[-1][3][0].x)} words and {len(ready[-1][3][0].parents)} parents for absorption;"
        f" about {L0} latents fire on a token. Floor: every token encoded\nonce, decoder rows of the latents that fire,"
        " blocks and head after the hook, tables written and read once. Clean\nlogits are read as if stored, and probes"
        " count as nothing: a part of absorption's time is its probes (see Parts), whatever d_sae. All five in one go:"
        "\nsparse probing and concept detection read the same texts, which are encoded once, in the floor too.",
    )
    for m in (16_384, 65_536):
        for activation in ACTIVATIONS:
            sae = random_sae(m, activation, WIDTH, acts.x[::16][:256])
            active = work.active_latents(sae, acts.x[::16][:256])
            every, todo = work.Work(0.0, 0.0), [(task, cfg, prepared) for task, _, cfg, prepared in ready]
            for task, floor_of, cfg, prepared in ready:
                needed = floor_of(ctx, sae, prepared, active)
                every += needed
                show(top, (task.card.name, m, activation), needed, scored([(task, cfg, prepared)], ctx, [sae]))
            once, ctx._requested = work.coding(sae, acts.tokens), sharing
            every = work.Work(every.flops - once.flops, every.moved - once.moved)
            show(top, ("**all five in one go**", m, activation), every, scored(todo, ctx, [sae]))
            ctx._requested = {}


def show(top: Ceilings, what: tuple[object, ...], needed: work.Work, spent: Cost) -> None:
    floor = top.floor(needed.flops, moved=needed.moved)
    line(*what, needed.flops / 1e9, floor, spent.seconds, spent.seconds / floor, spent.peak / 2**20)


def number_of_saes(top: Ceilings) -> None:
    table(
        "By number of SAEs and of tokens",
        *("task", "tokens", "SAEs", "floor s", "measured s", "measured / floor", "extra peak MiB"),
        about=f"d_in {WIDTH}, d_sae 16384, top-k: time grows with the SAEs, memory does not.",
    )
    made = [random_sae(16_384, "topk", WIDTH) for _ in range(4)]
    cases = [(2048, 1), (4096, 1), (8192, 1), (4096, 2), (4096, 4)]
    for task, floor_of, config in (TASKS[0], TASKS[2]):
        for tokens, count in cases:
            ctx, cfg = given_bench(tokens // 8, d=WIDTH), task.config(**config)
            prepared = task.prepare(ctx, cfg, [42])
            needed = floor_of(ctx, made[0], prepared, L0)
            floor = count * top.floor(needed.flops, moved=needed.moved)
            spent = scored([(task, cfg, prepared)], ctx, made[:count])
            line(task.card.name, tokens, count, floor, spent.seconds, spent.seconds / floor, spent.peak / 2**20)


def parts(top: Ceilings) -> None:
    table(
        "Parts",
        *("part", "GFLOP", "floor s", "measured s", "measured / floor", "extra peak MiB"),
        about="Encoding at d_in 64 is the worst case: twelve times less arithmetic a code than at 768.",
    )
    n = 16_384
    acts = Acts(torch.randn(n, 64, generator=G), torch.arange(0, n + 1, 32))
    for m in (1024, 16_384):
        for activation in ACTIVATIONS:
            sae = random_sae(m, activation)
            row(
                top,
                f"encode and pool (mean, max), {n} tokens, d_in 64, d_sae {m}, {activation}",
                lambda sae=sae: pooled_codes(sae, acts, ("mean", "max")),
                flops32=2 * n * 64 * m,
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
    x = torch.randn(20, 3200, 30, generator=G).relu().double()
    y = x[..., 0] + torch.randn(20, 3200, generator=G) > 1
    row(
        top,
        "absorption's ranking, 20 parents, 3200 words, 30 latents (floor: 300 steps of two products)",
        lambda: fit_sparse_ranking(x, y, 3200),
        flops64=20 * 300 * 2 * 2 * 3200 * 31,
    )
    a, b = torch.rand(4096, 512, generator=G), torch.rand(4096, 512, generator=G)
    row(
        top,
        "AUROC of 4096 latents, 512 + 512 texts (floor: one reading, no sorting)",
        lambda: auroc(a, b),
        moved=4 * 4096 * 1024,
    )


def row(top: Ceilings, name: str, do: Any, flops32: float = 0.0, flops64: float = 0.0, moved: float = 0.0) -> None:
    floor, spent = top.floor(flops32, flops64, moved), cost(do)
    line(name, (flops32 + flops64) / 1e9, floor, spent.seconds, spent.seconds / floor, spent.peak / 2**20)


def million(top: Ceilings) -> None:
    """2^20 latents within a budget far below what a dense table takes."""
    m, texts, memory = 1 << 20, 256, 1 << 28
    table(
        "A million latents",
        *("work", "budget MiB", "extra peak MiB", "dense table MiB", "floor s", "measured s"),
        about=f"d_sae {m}, d_in 64, random weights, top-k, `--memory` at 256 MiB, {texts * 8} tokens in {texts} texts.",
    )
    ctx, sae = given_bench(texts, memory=memory), random_sae(m)
    for task, floor_of, config, rows in ((*TASKS[0], texts * 8), (*TASKS[2], 2 * texts)):
        cfg = task.config(**config)
        prepared = task.prepare(ctx, cfg, [42])
        needed = floor_of(ctx, sae, prepared, L0)
        spent = scored([(task, cfg, prepared)], ctx, [sae])
        sizes = (memory >> 20, spent.peak / 2**20, rows * m * 4 / 2**20)
        line(task.card.name, *sizes, top.floor(needed.flops, moved=needed.moved), spent.seconds)


def main(wide: bool = False) -> None:
    """The page on time, or the one on a million latents (`wide`)."""
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    top = Ceilings.measure()
    name, word = ("memory", " wide") if wide else ("speed", "")
    print("# Cost against the floor\n")
    print(f"`OMP_NUM_THREADS=1 python -m tests.experiments.speed{word} > results/bench/{name}.md`\n")
    print(f"Ceilings of one thread: {top.flops32 / 1e9:.0f} GFLOP/s float32, {top.flops64 / 1e9:.0f} GFLOP/s float64,")
    print(
        f"{top.bytes / 1e9:.0f} GB/s copy. Floor: the larger of arithmetic and traffic at these rates. Random weights;"
    )
    print("seconds are process seconds of one thread, set-up that all SAEs share excluded.")
    for part in (million,) if wide else (five_tasks, number_of_saes, parts):
        part(top)


if __name__ == "__main__":
    main(wide=sys.argv[1:] == ["wide"])
