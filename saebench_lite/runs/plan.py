"""What a run would do: units left, tokens, bytes of cache, operations, and the least time they take on this machine."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field

import torch

from saebench_lite.activations.pooling import chunk_size
from saebench_lite.api.context import EvalContext
from saebench_lite.api.subject import BrokenSubject, UntrainedSubject
from saebench_lite.api.task import Reading
from saebench_lite.data.types import Corpus
from saebench_lite.errors import contained, reason
from saebench_lite.models.tokens import TokenBatch
from saebench_lite.runs.job import Job
from saebench_lite.saes.protocol import SAE, device_of


@dataclass
class Plan:
    """Figures of a run that has not happened. Counted: the model's passes over the data's texts and over what tasks
    say that they read besides, and one pass of each SAE that there is over the data's texts a task.
    """

    units: list[dict[str, str]]
    "task, subject, digest, state (to do, done, or fails where the subject cannot be read or made)."
    tokens: int = 0
    "Of the data's texts, read at each hook, added up."
    task_tokens: dict[str, int] = field(default_factory=dict)
    "Read by each task besides, at most: prompts, texts of its own, passes with something put in for each subject."
    cache_bytes: int = 0
    "Of the data's activations at the hooks, whether cached already or not."
    model_flops: float = 0.0
    sae_flops: float = 0.0
    seconds: float = 0.0
    "Of these passes on this machine."
    notes: list[str] = field(default_factory=list)

    @property
    def todo(self) -> int:
        """Units that would be computed."""
        return sum(u["state"] == "to do" for u in self.units)

    @property
    def failing(self) -> int:
        """Units that would fail at once."""
        return sum(u["state"] == "fails" for u in self.units)

    def to_json(self) -> dict[str, object]:
        """All of it in JSON types."""
        return {**asdict(self), "to_do": self.todo, "failing": self.failing}

    def to_text(self) -> str:
        """For a terminal."""
        lines = [f"{u['state']:6} {u['task']} {u['subject']} {u['digest']}" for u in self.units]
        lines += [
            f"{self.todo} of {len(self.units)} units to do",
            *([f"{self.failing} would fail, for what they score cannot be read or made"] if self.failing else []),
            f"about {self.tokens:,} tokens of the data's texts; {self.cache_bytes / 2**30:.3g} GiB of activations",
            *self._own(),
            f"{self.model_flops / 1e9:.3g} GFLOP of the model, {self.sae_flops / 1e9:.3g} GFLOP of the SAEs",
            f"about {self.seconds:.3g} s on this machine for these passes; fits, tables and all that baselines read"
            " or train come on top",
        ]
        return "\n".join([*lines, *self.notes])

    def _own(self) -> Iterator[str]:
        """What tasks read besides the data's texts, in words."""
        largest_first = sorted(self.task_tokens.items(), key=lambda of: -of[1])
        if told := [f"{name} {tokens:,}" for name, tokens in largest_first if tokens]:
            yield f"at most {sum(self.task_tokens.values()):,} more that tasks read besides: {', '.join(told)}"


def plan(jobs: Iterable[Job]) -> Plan:
    """The plan of some jobs; tokenises a few texts and times a few milliseconds of each model and of each SAE."""
    out = Plan([])
    read: set[str] = set()
    for job in jobs:
        ctx = job.session.ctx
        tokens = sum(map(ctx.estimated_tokens, _corpora(ctx)))
        todo = _add_units(out, job, tokens)
        _add_reading(out, job, todo)
        for name in (s.name for s in job.subjects if isinstance(s, UntrainedSubject)):
            note = f"{name} is trained first, unless the cache has it; neither that nor its encoding is counted"
            out.notes += [note] if note not in out.notes else []
        if not all(isinstance(s, BrokenSubject) for s in job.subjects):
            out.tokens += tokens
            out.cache_bytes += tokens * ctx.d_in * ctx.lm.dtype.itemsize
        if todo.total() and not ctx.lm.planted and ctx.lm.fingerprint() not in read:
            read.add(ctx.lm.fingerprint())  # the hooks of a model share its pass
            out.model_flops += 2.0 * ctx.lm.parameters * tokens
            out.seconds += tokens * _model_seconds(ctx)
    return out


def _add_units(out: Plan, job: Job, tokens: int) -> Counter[str]:
    """Adds a job's units and what its SAEs cost; how many of each task are left to do."""
    todo = Counter[str]()
    for subject, drafts in job.units():
        left = 0
        for draft in drafts:
            done = job.session.existing(draft) is not None
            state = "done" if done else "fails" if isinstance(subject, BrokenSubject) else "to do"
            left += state == "to do"
            todo[draft.task.name] += state == "to do"
            unit = {"task": draft.task.name, "subject": subject.name, "digest": draft.digest, "state": state}
            out.units.append(unit)
        if left and (sae := job.session.loaded(subject).sae) is not None:
            out.sae_flops += 2.0 * sae.d_in * sae.d_sae * tokens * left
            out.seconds += _sae_seconds(sae) * tokens * left
    return todo


def _add_reading(out: Plan, job: Job, todo: Counter[str]) -> None:
    """Adds what tasks read besides the data's texts, where they have something to do and the model is one of text.

    Args:
        out: gets the figures.
        job: a site with its tasks.
        todo: units of each task that are left.
    """
    ctx = job.session.ctx
    if ctx.lm.planted:
        return
    shared = each = 0
    for name, task in job.tasks.items():
        if not todo[name] or (task.card.requires_next_token and not ctx.lm.is_causal):
            continue
        try:
            with contained():
                reading = task.reads(ctx, job.configs[name], job.task_seeds(name))
        except Exception as error:  # noqa: BLE001  (a task may come from anywhere)
            out.notes.append(f"what {name} reads besides is not counted: {reason(error)}")
            reading = Reading()
        out.task_tokens[name] = out.task_tokens.get(name, 0) + reading.shared + reading.each * todo[name]
        shared, each = shared + reading.shared, each + reading.each * todo[name]
    out.model_flops += 2.0 * ctx.lm.parameters * (shared + each)
    out.seconds += (shared and shared * _model_seconds(ctx)) + (each and each * _later_seconds(ctx))


def _corpora(ctx: EvalContext) -> list[Corpus]:
    data = ctx.data
    corpora = [*data.texts, *(d.corpus for d in (*data.datasets, *data.concepts, *data.parents))]
    return list({c.fingerprint: c for c in corpora}.values())


def _a_batch(ctx: EvalContext) -> TokenBatch:
    """A few of the data's texts."""
    texts = _corpora(ctx)[0].texts[:16]
    ids = ctx.lm.tokenize(texts, context=ctx.lm.context, long_texts="cut_right")
    return next(iter(ctx.lm.batches(ids, max_tokens=1024)))[1]


@torch.no_grad()
def _later_seconds(ctx: EvalContext) -> float:
    """Seconds a token of a pass from the hook to the predictions, from one batch."""
    batch = _a_batch(ctx)
    prefix = ctx.lm.prefix(batch, ctx.hook)
    ctx.lm.logits_with(batch, prefix, prefix.acts, ctx.hook)
    start = time.perf_counter()
    ctx.lm.logits_with(batch, prefix, prefix.acts, ctx.hook)
    _wait(ctx.lm.device)
    return (time.perf_counter() - start) / int(batch.real.sum())


def _model_seconds(ctx: EvalContext) -> float:
    """Seconds a token of a pass up to the hook, from one batch."""
    batch = _a_batch(ctx)
    ctx.lm.collect(batch, [ctx.hook])
    start = time.perf_counter()
    ctx.lm.collect(batch, [ctx.hook])
    _wait(ctx.lm.device)
    return (time.perf_counter() - start) / int(batch.real.sum())


@torch.no_grad()
def _sae_seconds(sae: SAE) -> float:
    """Seconds a token of encode, from one chunk."""
    device = device_of(sae)
    x = torch.randn(min(1024, chunk_size(sae.d_sae, device)), sae.d_in, device=device)
    sae.encode(x)
    start = time.perf_counter()
    sae.encode(x)
    _wait(device)
    return (time.perf_counter() - start) / len(x)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
