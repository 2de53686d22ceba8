"""How often the gate raises an alarm, without and with a fault: `python -m tests.experiments.gate_power [RUNS]`.

On the bundled model, three of its SAEs stand for a project under test. Every run has three new evaluation seeds, and
its baseline are the results of the run before. "unchanged" leaves the SAEs alone; each other row plants one fault in
one of the three, in turn. A run counts as caught if the gate finds a regression of the SAE with the fault, as a false
alarm if it finds one of any other. Activations are computed once. Stops early after `LIMIT` seconds.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from saebench_lite import registry
from saebench_lite.api.context import EvalContext
from saebench_lite.api.settings import make_config
from saebench_lite.api.subject import SAESubject
from saebench_lite.bundled import sae_folders
from saebench_lite.files import write_text
from saebench_lite.loaders import native
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.records.record import Record
from saebench_lite.records.types import SubjectInfo, TaskInfo
from saebench_lite.report.regression import check
from saebench_lite.runs.evaluate import plain, summarise
from saebench_lite.runs.setup import data_identity, load_data
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.stats.seeds import derive_seed
from saebench_lite.version import __version__

HOOK = "blocks.2.hook_resid_post"
SETTINGS = {
    "sparse_probing": {"ks": (1, 5)},
    "reconstruction": {"max_tokens": 20_000},
    "ce_delta": {"max_tokens": 4_000},
}
SUBJECTS = ("jumprelu_1024_l0_16", "relu_1024_l0_16", "topk_1024_l0_16")
SEEDS = 3
LIMIT = 1500.0


def changed(sae: AffineSAE, **tensors: torch.Tensor) -> AffineSAE:
    """The SAE with some tensors replaced."""
    return AffineSAE(**{**sae.tensors, **tensors}, **sae.settings(), meta=sae.meta)


def zeroed(sae: AffineSAE, draw: torch.Generator) -> AffineSAE:
    """A tenth of the latents, drawn at random, never fires."""
    gone = torch.randperm(sae.d_sae, generator=draw)[: sae.d_sae // 10]
    w_enc, b_enc = sae.W_enc.clone(), sae.b_enc.clone()
    w_enc[:, gone], b_enc[gone] = 0.0, -1e6 if sae.activation != "topk" else 0.0
    return changed(sae, W_enc=w_enc, b_enc=b_enc)


def shifted(sae: AffineSAE, draw: torch.Generator) -> AffineSAE:
    """Thresholds up by a fifth to a half, drawn once: of the threshold, of k, or of the mean |b_enc| of a relu."""
    amount = 0.2 + 0.3 * torch.rand((), generator=draw)
    if sae.activation == "jumprelu":
        return changed(sae, threshold=sae.tensors["threshold"] * (1 + amount))
    if sae.activation == "topk":
        return AffineSAE(**sae.tensors, **(sae.settings() | {"k": int(sae.k * (1 - amount))}), meta=sae.meta)  # type: ignore[operator]
    return changed(sae, b_enc=sae.b_enc - amount * sae.b_enc.abs().mean())


def permuted(sae: AffineSAE, draw: torch.Generator) -> AffineSAE:
    """Decoder rows change places."""
    return changed(sae, W_dec=sae.W_dec[torch.randperm(sae.d_sae, generator=draw)])


FAULTS: dict[str, Callable[[AffineSAE, torch.Generator], AffineSAE]] = {
    "10 % of latents zeroed": zeroed,
    "thresholds shifted": shifted,
    "decoder rows permuted": permuted,
}


class Scorer:
    """Records of SAEs under given seeds; what does not depend on the SAE is done once."""

    def __init__(self) -> None:
        data = load_data(["bundled"])
        self.ctx, self.data = EvalContext(LanguageModel.load("pico"), HOOK, data), data_identity(data)
        self.site = self.ctx.site()
        self.tasks = {name: registry.get("tasks", name) for name in SETTINGS}
        self.configs = {name: make_config(task, SETTINGS[name]) for name, task in self.tasks.items()}
        self.fixed = {n: t.prepare(self.ctx, self.configs[n], []) for n, t in self.tasks.items() if not t.card.seeded}

    def records(self, name: str, sae: AffineSAE, seeds: Sequence[int], known: Sequence[Record] = ()) -> list[Record]:
        """A record a task; those of tasks that draw no random numbers are taken from `known` where they are there."""
        out = [r for r in known if not r.seeds]
        who = SAESubject(name=name, kind="sae", fingerprint=sae.fingerprint(), sae=sae)
        for task_name, task in self.tasks.items():
            if task_name in {r.task.name for r in out}:
                continue
            config, card = self.configs[task_name], task.card
            mine = list(seeds) if card.seeded else []
            prepared = self.fixed.get(task_name) or task.prepare(self.ctx, config, mine)
            scores, per_unit = summarise(task.evaluate(who, self.ctx, prepared, config, mine), card)
            out.append(
                Record(
                    task=TaskInfo(
                        name=card.name,
                        version=card.version,
                        package="saebench-lite",
                        package_version=__version__,
                        headline=list(card.headline),
                        metrics={m: card.metric(m) for m in scores},
                    ),
                    subject=SubjectInfo(name=name, kind="sae", fingerprint=who.fingerprint, meta={}),
                    site=self.site,
                    data=self.data,
                    settings=plain(dataclasses.asdict(config)),
                    seeds=mine,
                    status="ok",
                    scores=scores,
                    per_unit=per_unit,
                )
            )
        return out


def run_seeds(run: int) -> list[int]:
    """Seeds that belong to this run alone."""
    return [10_000 + run * SEEDS + i for i in range(SEEDS)]


def measure(runs: int) -> str:
    """The Markdown report on `runs` runs of each row."""
    scorer = Scorer()
    folders = {f.name: f for f in sae_folders()}
    saes = {name: native.load(folders[name]) for name in SUBJECTS}
    tally = Tally()
    before = [scorer.records(name, sae, run_seeds(0)) for name, sae in saes.items()]
    started = time.perf_counter()
    for run in range(1, runs + 1):
        if time.perf_counter() - started > LIMIT:
            break
        pairs = zip(saes.items(), before, strict=True)
        after = [scorer.records(name, sae, run_seeds(run), known) for (name, sae), known in pairs]
        tally.add("unchanged", before, after, None)
        victim = run % len(SUBJECTS)
        for fault, plant in FAULTS.items():
            bad = plant(saes[SUBJECTS[victim]], torch.Generator().manual_seed(derive_seed(fault, run)))
            planted = [*after]
            planted[victim] = scorer.records(SUBJECTS[victim], bad, run_seeds(run))
            tally.add(fault, before, planted, SUBJECTS[victim])
        before = after
        print(run, f"{time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return tally.report(time.perf_counter() - started)


class Tally:
    """Outcomes by row."""

    def __init__(self) -> None:
        self.runs, self.caught, self.false_alarms = Counter(), Counter(), Counter()
        self.metrics: dict[str, Counter] = {}
        self.seconds = 0.0

    def add(self, row: str, before: list[list[Record]], after: list[list[Record]], victim: str | None) -> None:
        """One check of new results against a baseline."""
        started = time.perf_counter()
        found = check([r for records in after for r in records], [r for records in before for r in records])
        self.seconds += time.perf_counter() - started
        mine = {f"{f.task} {f.metric}" for f in found.regressions if f.subject == victim}
        self.runs[row] += 1
        self.caught[row] += bool(mine)
        self.false_alarms[row] += any(f.subject != victim for f in found.regressions)
        self.metrics.setdefault(row, Counter()).update(mine)

    def report(self, seconds: float) -> str:
        """The figures as Markdown."""
        from tabulate import tabulate

        body = [
            [
                row,
                n,
                "–" if row == "unchanged" else self.caught[row],
                self.false_alarms[row],
                ", ".join(f"{m} {k}" for m, k in self.metrics[row].most_common()) or "–",
            ]
            for row, n in self.runs.items()
        ]
        heads = ["done to one SAE", "runs", "caught", "runs with a false alarm", "metrics that caught it"]
        checks, runs = sum(self.runs.values()), max(self.runs.values())
        lines = [
            "# What the gate catches",
            "",
            "`python -m tests.experiments.gate_power`: " + " ".join((__doc__ or "").split("\n\n")[1].split()),
            "",
            tabulate(body, heads, tablefmt="github", disable_numparse=True),
            "",
            f"Settings: {SETTINGS}; SAEs: {', '.join(SUBJECTS)}; {SEEDS} seeds a run. One check takes"
            f" {self.seconds / checks:.2f} s; scoring the {len(SUBJECTS) + len(FAULTS)} sets of results of a run took"
            f" {(seconds - self.seconds) / runs:.1f} s on {torch.get_num_threads()} thread(s), activations at hand.",
        ]
        return "\n".join(lines) + "\n"


if __name__ == "__main__":
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    text = measure(n)
    print(text)
    if n >= 100:
        write_text(Path(__file__).resolve().parents[2] / "results" / "gate" / "power.md", text)
