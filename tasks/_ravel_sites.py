"""What all SAEs of a site share in `ravel`: known facts, swaps by split, and the scores of other featurisers."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebench_lite.api.context import EvalContext
from saebench_lite.errors import NotApplicable
from saebench_lite.metrics.interchange import Disentangle, disentangle, group_mean_basis
from saebench_lite.stats.seeds import derive_seed, rng
from saebench_lite.tasks._ravel_facts import Fact, at_entities, draw_facts, known
from saebench_lite.tasks._ravel_featurisers import (
    Edit,
    best,
    completed,
    ranked_by_group,
    subspace_edit,
    train_das,
    train_mask,
)
from saebench_lite.tasks._ravel_files import SPLITS, Entities, read_entities
from saebench_lite.tasks._ravel_trials import Trials, cause_trials, isolate_trials, outcomes, placed

FIRST = 40
"Prompts after which an attribute is given up if the model answered none of them."
BATCH = 8
"Swaps of a training step."


class Sizes(NamedTuple):
    """Settings of the task that bound its work."""

    entities: int
    trials: int
    fewest: int
    latents: tuple[int, ...]
    dimensions: int
    steps: int


class Attribute(NamedTuple):
    """An attribute that the model knows."""

    name: str
    val: Trials
    test: Trials
    x: Tensor
    "Activations at entities of the train split. [n, d]"
    group: Tensor
    "Their values. [n] long"
    known: dict[str, list[int]]
    "{split: [prompts that the model answers, prompts asked]}"
    beside: dict[str, Disentangle]
    "Scores of other featurisers on the test split."


Facts = dict[str, dict[str, list[Fact]]]
"{split: {attribute: facts that the model knows}}"


def scored(ctx: EvalContext, trials: Trials, edit: Edit) -> Disentangle:
    """Cause, isolate and their mean for one edit."""
    right = outcomes(ctx.lm, ctx.hook, trials, edit)
    cause = torch.tensor([t.cause for t in trials.of])
    others = sorted({t.base.attribute for t in trials.of if not t.cause})
    of = [torch.tensor([not t.cause and t.base.attribute == a for t in trials.of]) for a in others]
    return disentangle(right[cause], [right[rows] for rows in of])


def attributes_of(ctx: EvalContext, folder: Path, kinds: tuple[str, ...], sizes: Sizes, seed: int) -> list[Attribute]:
    """All attributes with enough known facts; NotApplicable, with the counts, where there is none.

    Args:
        ctx: the site.
        folder: RAVEL's files.
        kinds: types of entity.
        sizes: bounds.
        seed: of the draws.
    """
    out, left_out = [], []
    for kind in (read_entities(folder, name) for name in kinds):
        draw = rng("ravel", kind.kind, seed)
        facts, counts = _known_facts(ctx, kind, sizes, draw)
        for attribute in kind.prompts:
            name, trials = f"{kind.kind} {attribute}", {}
            ctx.doing(f"ravel: {name}")
            for split in SPLITS:
                trials[split] = _trials(ctx, kind, attribute, facts[split], sizes, draw)
            if any(t is None for t in trials.values()):
                right, asked = (sum(c[i] for c in counts[attribute].values()) for i in (0, 1))
                left_out.append(f"{name} ({right} of {asked} prompts known)")
                continue
            out.append(_attribute(ctx, name, attribute, facts["train"], trials, sizes, counts[attribute], seed))
    if left_out:
        ctx.note(f"left out, because {ctx.lm.name} knows too few answers: {', '.join(left_out)}")
    if not out:
        raise NotApplicable(f"{ctx.lm.name} knows too few answers of {', '.join(left_out) or 'any attribute'}")
    return out


def _known_facts(
    ctx: EvalContext, kind: Entities, sizes: Sizes, draw: np.random.Generator
) -> tuple[Facts, dict[str, dict[str, list[int]]]]:
    """(facts that the model knows, {attribute: {split: [known, asked]}})."""
    facts: Facts = {split: {} for split in SPLITS}
    counts: dict[str, dict[str, list[int]]] = {a: {} for a in kind.prompts}
    for attribute in kind.prompts:
        ctx.doing(f"ravel: what the model knows of {kind.kind} {attribute}")
        for split in SPLITS:
            asked = draw_facts(ctx.lm, kind, attribute, split, sizes.entities, draw)
            right = known(ctx.lm, asked[:FIRST], ctx.batch_tokens)
            if any(right):
                right += known(ctx.lm, asked[FIRST:], ctx.batch_tokens)
            facts[split][attribute] = [f for f, r in zip(asked, right, strict=False) if r]
            counts[attribute][split] = [sum(right), len(right)]
            if not any(right):
                break
    return facts, counts


def _trials(
    ctx: EvalContext,
    kind: Entities,
    attribute: str,
    facts: dict[str, list[Fact]],
    sizes: Sizes,
    draw: np.random.Generator,
) -> Trials | None:
    """Swaps of an attribute in one split; None where there are too few of either sort.

    Args:
        ctx: the site.
        kind: entities.
        attribute: what is swapped.
        facts: of the split, by attribute, all known.
        sizes: bounds.
        draw: chooses swaps.
    """
    own, others = facts.get(attribute, []), {a: f for a, f in facts.items() if a != attribute and f}
    cause = cause_trials(ctx.lm, own, sizes.trials, draw)
    isolate = isolate_trials(ctx.lm, own, others, kind.attributes, sizes.trials, draw)
    if min(len(cause), len(isolate)) < sizes.fewest:
        return None
    mixed = [t for i in draw.permutation(len(cause) + len(isolate)) for t in [(cause + isolate)[i]]]
    longest = max(len(t.base.prompt) + len(t.answer) for t in mixed)
    return placed(ctx.lm, ctx.hook, mixed, min(ctx.batch_tokens, BATCH * longest))


def _attribute(
    ctx: EvalContext,
    name: str,
    attribute: str,
    facts: dict[str, list[Fact]],
    trials: dict[str, Trials],
    sizes: Sizes,
    counts: dict[str, list[int]],
    seed: int,
) -> Attribute:
    """The attribute with the scores of featurisers that need no SAE.

    Args:
        ctx: the site.
        name: of the attribute with its type of entity.
        attribute: its own name.
        facts: of the train split, by attribute.
        trials: by split.
        sizes: bounds.
        counts: of known prompts.
        seed: of the random subspace.
    """
    lm, hook = ctx.lm, ctx.hook
    x = at_entities(lm, hook, facts[attribute], ctx.batch_tokens)
    values = sorted({f.value for f in facts[attribute]})
    group = torch.tensor([values.index(f.value) for f in facts[attribute]])
    everything = at_entities(lm, hook, [f for listed in facts.values() for f in listed], ctx.batch_tokens)
    components = torch.linalg.svd(everything - everything.mean(0), full_matrices=False)[2]
    ranked = ranked_by_group(x @ components.T, group.to(x.device))
    numbers = [k for k in sizes.latents if k <= len(components)] or [len(components)]
    chosen = [subspace_edit(components[ranked[:k]].T) for k in numbers]
    means = group_mean_basis(x, group.to(x.device)).float()
    generator = torch.Generator().manual_seed(derive_seed("ravel", name, seed))
    random, start = (completed(b, sizes.dimensions, generator) for b in (means[:, :0], means))
    das = train_das(lm, hook, trials["train"], start, sizes.steps)
    mask = train_mask(lm, hook, trials["train"], sizes.steps)
    neurons = torch.eye(ctx.d_in, device=x.device)[:, mask]

    def on_val(edit: Edit) -> float:
        return scored(ctx, trials["val"], edit).disentangle

    edits = {
        "random": subspace_edit(random),
        "pca": chosen[best(chosen, on_val)],
        "diff_in_means": subspace_edit(means),
        "dbm": subspace_edit(neurons),
        "das": subspace_edit(das),
    }
    beside = {key: scored(ctx, trials["test"], edit) for key, edit in edits.items()}
    return Attribute(name, trials["val"], trials["test"], x, group, counts, beside)
