"""What one more SAE costs on a model of Gemma-2-2B's shape with random weights, by task, beside its floor.

    python -m tests.benchmarks.gpu --device cuda > results/bench/gpu.md
    python -m tests.benchmarks.gpu --all out          # the GPU tests too; what is done is written into out as it comes
    python -m tests.benchmarks.gpu --layers 2 --width 64 --texts 100 --latents 256,512   # a try on a CPU

Sizes are SAEBench's defaults: eight data sets of 4,000 training and 1,000 test texts at 128 tokens, five classes each;
200 batches of 16 texts of 128 tokens for reconstruction and CE loss; first letters for absorption. Texts are random
words: times do not depend on what they say. All five tasks of an SAE follow one another, as in a run.
"""

from __future__ import annotations

import argparse
import itertools
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from saebench_lite import registry
from saebench_lite.api.context import EvalContext
from saebench_lite.api.subject import SAESubject
from saebench_lite.api.task import Task
from saebench_lite.data.types import Corpus, Data, Labelled
from saebench_lite.models.language_model import DTYPES, LanguageModel
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.tensor_cores import Encode
from saebench_lite.tasks._first_letters import first_letters
from tests.benchmarks.floor import Ceilings, matrix_rate, seconds, transfer_rate

CONTEXT, SETS, CLASSES, TRAIN_SHARE, L0 = 128, 8, 5, 0.8, 64
PARTS = ("call", "setup")
"Of a test in pytest's report."
TASKS = ("reconstruction", "ce_delta", "sparse_probing", "concept_detection", "absorption")


class Sizes(NamedTuple):
    layers: int
    width: int
    texts: int
    "Texts of a data set."
    latents: list[int]
    "Of each SAE."
    encode: list[Encode]
    "How each is encoded, one after another."
    device: str
    dtype: str
    memory: int | None


def model_of(size: Sizes) -> LanguageModel:
    """Gemma 2 with random weights on the device; the bundled tokenizer's ids are the first of its vocabulary."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    wide = size.width >= 2304
    config = Gemma2Config(
        num_hidden_layers=size.layers,
        hidden_size=size.width,
        intermediate_size=4 * size.width,
        num_attention_heads=8 if wide else 2,
        num_key_value_heads=4 if wide else 1,
        head_dim=256 if wide else size.width // 2,
        vocab_size=256_000 if wide else 8192,
    )
    torch.manual_seed(0)
    with torch.device(size.device):
        net: Any = Gemma2ForCausalLM(config)
    return LanguageModel(net.to(DTYPES[size.dtype]), LanguageModel.load("pico").tokenizer, name="random Gemma 2")


def data_of(size: Sizes, words: Sequence[str]) -> Data:
    """Random texts; those of class c begin with a word of their own, more often than others."""
    draw = np.random.default_rng(0)

    def corpus(name: str, texts: int) -> Corpus:
        return Corpus(name, tuple(" ".join(draw.choice(words, CONTEXT)) for _ in range(texts)), context=CONTEXT)

    labelled = []
    for i in range(SETS):
        texts, rows = corpus(f"set {i}", size.texts), np.arange(size.texts)
        part = np.where(rows < TRAIN_SHARE * size.texts, "train", "test")
        labelled += [Labelled(f"set {i} class {c}", texts, rows, rows % CLASSES == c, part) for c in range(CLASSES)]
    core = corpus("core", max(16, round(0.64 * size.texts)))
    return Data("random words", datasets=tuple(labelled), concepts=tuple(labelled[::CLASSES]), texts=(core,))


def sae_of(d: int, latents: int, activation: str, device: str) -> AffineSAE:
    """Unit directions; about `L0` latents fire on a token."""
    g = torch.Generator(device).manual_seed(latents)
    w = torch.nn.functional.normalize(torch.randn(latents, d, generator=g, device=device))
    if activation == "topk":
        return AffineSAE(W_enc=w.T, W_dec=w, activation="topk", k=min(L0, latents // 4))
    return AffineSAE(W_enc=w.T, W_dec=w, activation="jumprelu", threshold=torch.full((latents,), 3.0, device=device))


def settings_of(size: Sizes) -> dict[str, dict[str, Any]]:
    tokens = max(16, round(0.64 * size.texts)) * CONTEXT
    return {
        "reconstruction": {"max_tokens": tokens},
        "ce_delta": {"max_tokens": tokens, "context": CONTEXT},
        "sparse_probing": {"ks": (1, 2, 5), "poolings": ("mean",), "max_train": round(TRAIN_SHARE * size.texts)},
        "concept_detection": {},
        "absorption": {"min_share": 0.0, "min_probe_f1": 0.0, "max_words": max(400, 4 * size.texts)},
    }


class Floor:
    """Least seconds of one more SAE: arithmetic at the measured rates, or the activations' way to the device."""

    def __init__(self, ctx: EvalContext, size: Sizes) -> None:
        self.ctx, self.size = ctx, size
        self.top, self.dense = Ceilings.measure(size.device), matrix_rate(DTYPES[size.dtype], size.device)
        self.transfer = transfer_rate(size.device)

    def tokens(self, task: str, prepared: Any) -> int:
        """Activations that the task encodes."""
        data, ctx = self.ctx.data, self.ctx
        if task == "reconstruction":
            return prepared.blocks.acts.tokens
        if task == "ce_delta":
            return sum(int(p.batch.real.sum()) for p in prepared.pieces)
        if task == "absorption":
            return sum(len(p.acts) for p in prepared)
        corpora = {
            d.corpus.fingerprint: d.corpus for d in (data.datasets if task == "sparse_probing" else data.concepts)
        }
        return sum(ctx.acts(c).tokens for c in corpora.values())

    def seconds(self, task: str, prepared: Any, sae: AffineSAE) -> float:
        """Of one task; concept detection finds the texts pooled, and reads the tables."""
        n, d, lm = self.tokens(task, prepared), self.ctx.d_in, self.ctx.lm
        if task == "concept_detection":
            texts = sum(len(c.corpus.texts) for c in self.ctx.data.concepts)
            return 4 * texts * sae.d_sae / self.top.bytes
        rate = {"float32": self.top.flops32, "tf32x3": self.dense / 3, "bf16": self.dense}[sae.encode_by]
        arithmetic = 2 * n * d * sae.d_sae / rate
        if task == "reconstruction":
            arithmetic += 2 * n * d * (sae.k or L0) / self.top.flops32
        if task != "ce_delta":
            return max(arithmetic, n * d * lm.dtype.itemsize / self.transfer)
        return arithmetic + self.passes(n, after=1, heads=2)  # the head twice: clean and spliced

    def passes(self, tokens: int, *, before: int = 0, after: int = 0, heads: int = 0) -> float:
        """Of so many passes of the model up to the hook, from there on, and of its head; without attention's scores."""
        lm, layer = self.ctx.lm, int(self.ctx.hook.split(".")[1]) + 1
        parts: Any = lm.blocks[:layer], lm.blocks[layer:]  # type: ignore[index]
        first, rest = (sum(p.numel() for p in part.parameters()) for part in parts)
        return 2 * tokens * (before * first + after * rest + heads * lm.vocabulary * lm.width) / self.dense

    def set_up(self, task: str, prepared: Any) -> float | None:
        """Of what a task reads before any SAE; None where its tokens are not counted, or were read for another."""
        if task in ("reconstruction", "sparse_probing"):
            return self.passes(self.tokens(task, prepared), before=1)
        if task == "ce_delta":  # clean, and with zeros and means put in
            return self.passes(self.tokens(task, prepared), before=1, after=3, heads=3)
        return None


def measured(size: Sizes, work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What `work` gives, its seconds, and the peak of memory in GiB: the GPU's, else this process's."""
    cuda, got = size.device.startswith("cuda"), []
    if cuda:
        torch.cuda.reset_peak_memory_stats(size.device)
    spent = seconds(lambda: got.append(work()), size.device)
    peak = (
        torch.cuda.max_memory_allocated(size.device)
        if cuda
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    return got[0], spent, peak / 2**30


def report(size: Sizes) -> Iterator[str]:
    """Lines of the page, as they come."""
    device = torch.cuda.get_device_name(size.device) if size.device.startswith("cuda") else "CPU"
    lm = model_of(size)
    words = [w.strip() for w in first_letters(lm.tokenizer).words]
    ctx = EvalContext(lm, f"blocks.{size.layers // 2}.hook_resid_post", data_of(size, words), memory=size.memory)
    saes = [sae_of(size.width, m, a, size.device) for m in size.latents for a in ("jumprelu", "topk")]
    floor, settings = Floor(ctx, size), settings_of(size)
    memory = "" if size.memory is None else f" --memory {size.memory >> 30}"
    yield from (
        "# One more SAE",
        "",
        f"`python -m tests.benchmarks.gpu --device {size.device} --layers {size.layers} --width {size.width}"
        f" --texts {size.texts} --latents {','.join(map(str, size.latents))} --encode {','.join(size.encode)}"
        f" --dtype {size.dtype}{memory}`",
        "",
        f"Device: {device}; torch {torch.__version__}. Random Gemma 2 of {size.layers} layers,"
        f" width {size.width}, {size.dtype}; {ctx.memory / 2**30:.3g} GiB for pooled tables and as much for"
        " activations; one seed.",
        f"Ceilings: {floor.top.flops32 / 1e12:.3g} TFLOP/s float32, {floor.dense / 1e12:.3g} {size.dtype},"
        f" {floor.transfer / 1e9:.3g} GB/s to the device; tf32x3 a third of bf16. Set-up: the model's"
        " passes and its own probes, once for all SAEs. No baselines.",
        "",
        "| task | SAE | encoder | seconds | floor s | floor / seconds | peak GiB |",
        "|---|---|---|---|---|---|---|",
    )
    prepared, whole = {}, 0.0
    for name in TASKS:
        task = registry.get("tasks", name)
        cfg = task.config(**settings[name])

        def prepare(task: Task = task, cfg: Any = cfg) -> Any:
            got = task.prepare(ctx, cfg, [42])
            ctx.register_poolings(task.pooling_requests(ctx, cfg))
            return got

        shared, spent, peak = measured(size, prepare)
        prepared[name], whole = (task, cfg, shared), whole + spent
        least = floor.set_up(name, shared)
        share = " | " if least is None else f"{least:.3g} | {least / spent:.1%}"
        yield f"| {name} | set-up | | {spent:.3g} | {share} | {peak:.3g} |"
    yield f"| all five | set-up | | {whole:.3g} | | | |"
    yield passes(ctx, size, floor)
    for sae, encode in itertools.product(saes, size.encode):
        coded, total = sae.encoding(encode), 0.0
        who = SAESubject(name="s", kind="sae", fingerprint="", sae=coded)
        label = f"{sae.d_sae} {sae.activation} | {encode}"
        for name, (task, cfg, shared) in prepared.items():
            go = lambda task=task, who=who, p=shared, cfg=cfg: task.evaluate(who, ctx, p, cfg, [42])  # noqa: E731
            _, spent, peak = measured(size, go)
            least, total = floor.seconds(name, shared, coded), total + spent
            yield f"| {name} | {label} | {spent:.3g} | {least:.3g} | {least / spent:.1%} | {peak:.3g} |"
        yield f"| all five | {label} | {total:.3g} | | | |"
        ctx.release()


def passes(ctx: EvalContext, size: Sizes, floor: Floor) -> str:
    """Row of the model's passes over the texts of one data set up to the hook: in batches, from token ids on."""
    lm, corpus = ctx.lm, ctx.data.datasets[0].corpus
    ids = lm.tokenize(corpus.texts, context=CONTEXT, long_texts=corpus.long_texts)

    def read() -> None:
        for _, batch in lm.batches(ids, max_tokens=ctx.batch_tokens):
            lm.collect(batch, [ctx.hook])

    _, spent, peak = measured(size, read)
    least = floor.passes(sum(map(len, ids)), before=1)
    return f"| passes up to the hook | one data set | | {spent:.3g} | {least:.3g} | {least / spent:.1%} | {peak:.3g} |"


def gpu_tests(out: Path) -> str:
    """One line on `tests/test_gpu.py`; its report, with the seconds of each test, goes into a file of `out`."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "--durations=0", "tests/test_gpu.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (out / "gpu-tests.txt").write_text(done.stdout + done.stderr)
    last = (done.stdout.strip().splitlines() or ["no output"])[-1].strip("= ")
    slowest, loading = (max(map(float, re.findall(rf"([\d.]+)s {part}", done.stdout)), default=0.0) for part in PARTS)
    return f"`tests/test_gpu.py`: {last}; the slowest test {slowest:.3g} s, what loads CUDA before it {loading:.3g} s."


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cuda = torch.cuda.is_available()
    for flag, default in (("layers", 26), ("width", 2304), ("texts", 5000), ("memory", None)):
        parser.add_argument(f"--{flag}", type=int, default=default)
    parser.add_argument("--latents", default="16384,65536")
    parser.add_argument("--encode", default="float32,tf32x3,bf16")
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    parser.add_argument("--dtype", default="bfloat16" if cuda else "float32", choices=list(DTYPES))
    parser.add_argument("--all", type=Path, help="folder for the page and the report of the GPU tests")
    given = vars(parser.parse_args(arguments))
    out: Path | None = given.pop("all")
    given["latents"] = [int(m) for m in given["latents"].split(",")]
    given["encode"] = given["encode"].split(",")
    given["memory"] = given["memory"] and given["memory"] << 30
    with ExitStack() as files, torch.no_grad():
        page = None if out is None else files.enter_context((out / "gpu.md").open("w"))
        tests = [] if out is None else [gpu_tests(out)]
        for line in itertools.chain(report(Sizes(**given)), ["", *tests] if tests else []):
            for file in filter(None, (sys.stdout, page)):
                print(line, file=file, flush=True)


if __name__ == "__main__":
    main()
