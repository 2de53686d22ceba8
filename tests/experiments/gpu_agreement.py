"""Do scores on a CPU agree with records that were made on a GPU, by the code of then and by the code of now?

`python -m tests.experiments.gpu_agreement RECORDS SAES [--then] [--sae NAME ...] [--work FOLDER]`

RECORDS: a results folder of a run on CUDA by commit COMMIT, of SAEs of SmolLM2-135M-Instruct whose folders are in SAES:
float32, bundled concepts of that commit, `<|endoftext|>` put in front of each text by the tokenizer and left out.
Today's code is run here on the same texts under the same rule, and with `--then` that commit's own code too. Its page
goes to `results/parity/gpu.md`; what was computed is read from the work folder when the command runs again.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tabulate import tabulate

from saebench_lite.data.types import Corpus, Data, Labelled
from saebench_lite.files import cache_root, write_text
from saebench_lite.models.gguf import smollm2
from saebench_lite.runs.runner import run
from tests.conftest import ROOT
from tests.test_gpu import MEANS, RANKS

COMMIT = "d944fed"
HOOK, BOS, BOS_ID = "blocks.15.hook_resid_post", "<|endoftext|>", 0
TASKS = ("reconstruction", "ce_delta", "concept_detection", "sparse_probing")
"Absorption reads 20,000 words in ten contexts each, which is no work for a CPU."
TRAIN_LINES = 130
"Lines of a concept's file that were for training."
CHANGED = {
    ("reconstruction", "dead_fraction"): "counts latents below 1e-5 of the tokens since version 2",
    ("concept_detection", "f1"): "training rows are drawn with replacement since version 4",
    ("concept_detection", "auroc"): "training rows are drawn with replacement since version 4",
}
"Metrics of the same name that are not the same: why."
SETTINGS = {"sparse_probing": {"selection": "normalised"}}
"What the records name and is no default any more."
Scores = dict[tuple[str, str, str], float]
"{(SAE, task, metric): value}"


def of_folder(folder: Path, names: Sequence[str]) -> Scores:
    """Scores of a results folder's records, of whatever schema."""
    out: Scores = {}
    for path in sorted((folder / "records").rglob("*.json")):
        record = json.loads(path.read_text())
        name, task = record["subject"]["name"], record["task"]["name"]
        if name in names and task in TASKS:
            out |= {(name, task, metric): s["value"] for metric, s in record["scores"].items()}
    return out


def package(work: Path) -> Path:
    """The package as it was at COMMIT, installed in a folder for PYTHONPATH: its entry points name its tasks."""
    folder, source = work / "package", work / "source"
    if not folder.exists():
        archive = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, check=True, capture_output=True)
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(source, filter="data")
        install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), str(source)]
        subprocess.run(install, check=True)
    return folder


def model_with_bos(work: Path) -> Path:
    """SmolLM2's folder with a tokenizer that puts BOS in front of each text, as the records' model had."""
    folder = work / "smol"
    shutil.copytree(smollm2(), folder, dirs_exist_ok=True)
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    special = {BOS: {"id": BOS, "ids": [BOS_ID], "tokens": [BOS]}}
    single = [{"SpecialToken": {"id": BOS, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    tokenizer["post_processor"] = {**tokenizer["post_processor"], "single": single, "special_tokens": special}
    path.write_text(json.dumps(tokenizer))
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "bos_token": BOS}))  # special, so left out
    return folder


def by_the_code_of_then(saes: Sequence[Path], work: Path) -> Scores:
    """Scores on this machine by COMMIT's own command."""
    done = work / "then"
    command = [sys.executable, "-m", "saebench_lite.cli", "run", "--model", str(model_with_bos(work)), "--hook", HOOK]
    command += [part for sae in saes for part in ("--sae", str(sae))]
    command += ["--tasks", ",".join(TASKS), "--baselines", "none", "--out", str(done), "--cache", str(work / "acts")]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(package(work))}, cwd=work)
    return of_folder(done, [sae.name for sae in saes])


def concepts_of_then(work: Path) -> Data:
    """The bundled concepts of COMMIT: 12 files, a text a line, each against all others."""
    folder = package(work) / "saebench_lite" / "bundled" / "concepts"
    texts = {path.stem: path.read_text(encoding="utf-8").splitlines() for path in sorted(folder.glob("*.txt"))}
    owner = np.repeat(np.arange(len(texts)), [len(lines) for lines in texts.values()])
    line = np.concatenate([np.arange(len(lines)) for lines in texts.values()])
    corpus = Corpus("bundled", tuple(text for lines in texts.values() for text in lines))
    part, rows = np.where(line < TRAIN_LINES, "train", "test"), np.arange(len(owner))
    labelled = tuple(Labelled(name, corpus, rows, owner == i, part) for i, name in enumerate(texts))
    return Data(f"bundled of {COMMIT}", datasets=labelled, concepts=labelled, texts=(corpus,))


def by_the_code_of_now(saes: Sequence[Path], work: Path) -> Scores:
    """Scores on this machine by today's package, with the texts, rule and settings of the records."""
    records = run(
        [str(sae) for sae in saes],
        model="smollm2",
        hook=HOOK,
        data=concepts_of_then(work),
        tasks=TASKS,
        baselines=[],
        bos=BOS,
        leave_out="special",
        settings=SETTINGS,
        out=work / "now",
        cache=work / "acts-now",
        device="cpu",
        progress=False,
    )
    return {(r.subject.name, r.task.name, metric): s.value for r in records for metric, s in r.scores.items()}


def tolerance(task: str, value: float) -> float:
    """What `tests/test_gpu.py` allows between two devices for a score of a task."""
    return MEANS[task] * max(1.0, abs(value)) if task in MEANS else RANKS


def page(gpu: Scores, then: Scores, now: Scores, command: str) -> str:
    """Differences of all metrics, by task; then each metric."""
    lines = [
        "# Scores on a CPU against records made on a GPU",
        "",
        f"Made by `{command}`: SAEs of SmolLM2-135M-Instruct at `{HOOK}`, the 12 concepts of 200 texts of commit"
        f" {COMMIT}, float32. GPU: its code on an NVIDIA H200; then (`--then`): the same code on a CPU; now: today's"
        " code there, under the records' rule (special tokens alone left out) and settings. Tolerances are those of"
        " `tests/test_gpu.py`: 0.001 of the score (of 1 where it is less) for means over tokens, 0.02 for scores that"
        " rank or count texts.",
        "",
    ]
    lines += _summary("by the same code", gpu, then, {})
    lines += _summary("by today's code", gpu, now, CHANGED)
    body = []
    for key in sorted(gpu, key=lambda k: (k[0], TASKS.index(k[1]), k[2])):
        name, task, metric = key
        cells = [f"{v[key]:.6g}" if key in v else "–" for v in (gpu, then, now)]
        gaps = [f"{v[key] - gpu[key]:+.1e}" if key in v else "–" for v in (then, now)]
        note = CHANGED.get((task, metric), "" if key in now else "not among today's metrics")
        body.append([name, task, metric, *cells, *gaps, f"{tolerance(task, gpu[key]):.4f}", note])
    heads = ["SAE", "task", "metric", "GPU", "then", "now", "then - GPU", "now - GPU", "tolerance", ""]
    return "\n".join([*lines, "", tabulate(body, heads, tablefmt="github", disable_numparse=True), ""])


def _summary(which: str, gpu: Scores, cpu: Scores, changed: Mapping[tuple[str, str], str]) -> list[str]:
    """A line a task: how many scores are within the tolerance, and the one that is furthest from the GPU's for it."""
    out = []
    for task in TASKS:
        shared = [k for k in gpu if k in cpu and k[1] == task and (task, k[2]) not in changed]
        if not shared:
            continue
        share = {k: abs(cpu[k] - gpu[k]) / tolerance(task, gpu[k]) for k in shared}
        worst = max(shared, key=lambda k: share[k])
        inside = sum(s <= 1 for s in share.values())
        out.append(
            f"- {task}, {which}: {inside} of {len(shared)} scores within the tolerance; furthest {worst[2]} of"
            f" {worst[0]}, {abs(cpu[worst] - gpu[worst]):.1e} where {tolerance(task, gpu[worst]):.1e} is allowed"
        )
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("records", type=Path)
    parser.add_argument("saes", type=Path)
    parser.add_argument("--sae", nargs="+", default=["batchtopk_4096_l0_32", "topk_4096_l0_32"])
    parser.add_argument("--then", action="store_true", help="also by the code of the records' commit")
    parser.add_argument("--work", type=Path, default=cache_root() / "gpu-agreement")
    asked = parser.parse_args(arguments)
    work = asked.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    saes = [(asked.saes / name).resolve() for name in asked.sae]
    gpu = of_folder(asked.records, asked.sae)
    text = page(
        gpu,
        by_the_code_of_then(saes, work) if asked.then else {},
        by_the_code_of_now(saes, work),
        "python -m tests.experiments.gpu_agreement RECORDS SAES" + " --then" * asked.then,
    )
    write_text(ROOT / "results" / "parity" / "gpu.md", text)


if __name__ == "__main__":
    main()
