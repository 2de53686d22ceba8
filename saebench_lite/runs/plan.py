"""What a run would do: units left, tokens, bytes of cache, operations, and the least time they take on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from saebench_lite.activations.pooling import chunk_size
from saebench_lite.api.context import EvalContext
from saebench_lite.data.types import Corpus
from saebench_lite.runs.job import Job
from saebench_lite.saes.protocol import SAE, device_of

SAMPLE = 64
"Texts tokenised to estimate the tokens of a corpus."


@dataclass
class Plan:
    """Figures of a run that has not happened. Counted: the model's passes and one pass of each SAE over the texts a
    task; probes, splices and tables come on top, so `seconds` is a lower bound.
    """

    units: list[dict[str, str]]
    "task, subject, digest, state (to do, done)."
    tokens: int = 0
    "Read at each hook, added up."
    cache_bytes: int = 0
    "Of all activations at the hooks, whether cached already or not."
    model_flops: float = 0.0
    sae_flops: float = 0.0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def todo(self) -> int:
        """Units that would be computed."""
        return sum(u["state"] == "to do" for u in self.units)

    def to_json(self) -> dict[str, object]:
        """All of it in JSON types."""
        return {**asdict(self), "to_do": self.todo}

    def to_text(self) -> str:
        """For a terminal."""
        lines = [f"{u['state']:6} {u['task']} {u['subject']} {u['digest']}" for u in self.units]
        lines += [
            f"{self.todo} of {len(self.units)} units to do",
            f"about {self.tokens:,} tokens; {self.cache_bytes / 2**30:.3g} GiB of activations",
            f"{self.model_flops / 1e9:.3g} GFLOP of the model, {self.sae_flops / 1e9:.3g} GFLOP of the SAEs",
            f"at least {self.seconds:.3g} s on this machine; probes, splices and prompts of tasks are not counted",
        ]
        return "\n".join([*lines, *self.notes])


def plan(jobs: Iterable[Job]) -> Plan:
    """The plan of some jobs; tokenises a few texts and times a few milliseconds of each model and of each SAE."""
    out = Plan([])
    read: set[str] = set()
    for job in jobs:
        ctx = job.session.ctx
        tokens = sum(_tokens(ctx, c) for c in _corpora(ctx))
        todo = _add_units(out, job, tokens)
        out.tokens += tokens
        out.cache_bytes += tokens * ctx.d_in * ctx.lm.dtype.itemsize
        if todo and not ctx.lm.planted and ctx.lm.fingerprint() not in read:
            read.add(ctx.lm.fingerprint())  # the hooks of a model share its pass
            out.model_flops += 2.0 * ctx.lm.parameters * tokens
            out.seconds += tokens * _model_seconds(ctx)
    return out


def _add_units(out: Plan, job: Job, tokens: int) -> int:
    """Adds a job's units and what its SAEs cost; the number of those left to do."""
    todo = 0
    for subject, drafts in job.units():
        left = 0
        for draft in drafts:
            done = job.session.existing(draft) is not None
            left += not done
            state = "done" if done else "to do"
            unit = {"task": draft.task.name, "subject": subject.name, "digest": draft.digest, "state": state}
            out.units.append(unit)
        if left and (sae := job.session.loaded(subject).sae) is not None:
            out.sae_flops += 2.0 * sae.d_in * sae.d_sae * tokens * left
            out.seconds += _sae_seconds(sae) * tokens * left
        todo += left
    return todo


def _corpora(ctx: EvalContext) -> list[Corpus]:
    data = ctx.data
    corpora = [*data.texts, *(d.corpus for d in (*data.datasets, *data.concepts, *data.parents))]
    return list({c.fingerprint: c for c in corpora}.values())


def _tokens(ctx: EvalContext, corpus: Corpus) -> int:
    """Estimated from evenly spaced texts."""
    chosen = np.unique(np.linspace(0, len(corpus.texts) - 1, SAMPLE).round().astype(int))
    context = min(corpus.context or ctx.lm.context, ctx.lm.context)
    ids = ctx.lm.tokenize([corpus.texts[i] for i in chosen], context=context, long_texts=corpus.long_texts)
    return round(float(np.mean(ctx.lm.real_lengths(ids))) * len(corpus.texts))


def _model_seconds(ctx: EvalContext) -> float:
    """Seconds a token of a pass up to the hook, from one batch."""
    texts = _corpora(ctx)[0].texts[:16]
    ids = ctx.lm.tokenize(texts, context=ctx.lm.context, long_texts="cut_right")
    _, batch = next(iter(ctx.lm.batches(ids, max_tokens=1024)))
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
