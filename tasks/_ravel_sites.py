"""What all SAEs of a site share in `ravel`: known facts, swaps by split, and the scores of other featurisers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.api.context import EvalContext
from saebench_lite.data.types import Corpus
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
from saebench_lite.tasks._ravel_files import SPLITS, Entities
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
    at: EvalContext
    "Where it is asked: the site, or a world that answers."
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
    files: str
    "Digest of the files that it was read from."


Facts = dict[str, dict[str, list[Fact]]]
"{split: {attribute: facts that the model knows}}"


def scored(ctx: EvalContext, trials: Trials, edit: Edit) -> Disentangle:
    """Cause, isolate and their mean for one edit."""
    right = outcomes(ctx.lm, ctx.hook, trials, edit)
    cause = torch.tensor([t.cause for t in trials.of])
    others = sorted({t.base.attribute for t in trials.of if not t.cause})
    of = [torch.tensor([not t.cause and t.base.attribute == a for t in trials.of]) for a in others]
    return disentangle(right[cause], [right[rows] for rows in of])


def attributes_of(
    ctx: EvalContext, kinds: Sequence[Entities], sizes: Sizes, seeds: Sequence[int]
) -> dict[int, list[Attribute]]:
    """All attributes with enough known facts, by seed; NotApplicable, with the counts, where there is none.

    What the model knows is asked once, and featurisers are trained once; a seed draws the swaps of val and test.

    Args:
        ctx: where they are asked.
        kinds: types of entity.
        sizes: bounds.
        seeds: of the draws.
    """
    out: dict[int, list[Attribute]] = {seed: [] for seed in seeds}
    left_out = []
    for kind in kinds:
        facts, counts = _known_facts(ctx, kind, sizes)
        for attribute in kind.prompts:
            name = f"{kind.kind} {attribute}"
            train = _trials(ctx, kind, attribute, facts["train"], sizes, "train")
            swaps = {
                seed: [_trials(ctx, kind, attribute, facts[split], sizes, seed) for split in SPLITS[1:]]
                for seed in seeds
            }
            if train is None or any(t is None for each in swaps.values() for t in each):
                right, asked = (sum(c[i] for c in counts[attribute].values()) for i in (0, 1))
                left_out.append(f"{name} ({right} of {asked} prompts known)")
                continue
            ctx.doing(f"ravel: featurisers of {name}")
            learned = _learned(ctx, name, facts["train"], attribute, train, sizes)
            for seed, (val, test) in swaps.items():
                assert val is not None
                assert test is not None
                beside = _beside(ctx, learned, val, test)
                out[seed].append(
                    Attribute(name, ctx, val, test, learned.x, learned.group, counts[attribute], beside, kind.digest)
                )
    if left_out:
        ctx.note(f"left out, because {ctx.lm.name} knows too few answers: {', '.join(left_out)}")
    if not any(out.values()):
        raise NotApplicable(f"{ctx.lm.name} knows too few answers of {', '.join(left_out) or 'any attribute'}")
    return out


def tokens_of_swaps(ctx: EvalContext, kinds: Sequence[Entities], sizes: Sizes, seeds: int) -> tuple[int, int]:
    """Estimated tokens of what all subjects share, and of each subject, did the model know every attribute.

    Args:
        ctx: the site.
        kinds: types of entity.
        sizes: bounds.
        seeds: how many.
    """
    swaps, shared, each = 2 * sizes.trials, 0.0, 0.0
    for kind in kinds:
        prompts = tuple(p for a in kind.prompts for split in SPLITS for p in kind.prompts_of(a, split))
        if not prompts:
            continue
        text = ctx.estimated_tokens(Corpus("prompts", prompts)) / len(prompts)
        asked = {s: min(sizes.entities, len(kind.entities(s))) for s in SPLITS}
        chosen = (len(sizes.latents) + 1) * seeds * swaps  # val with each number of latents, test with the best
        placed_once = 2 * (1 + 2 * seeds) * swaps
        trained = 2 * sizes.steps * BATCH
        beside = chosen + 4 * seeds * swaps
        facts = sum(asked.values()) + (1 + len(kind.prompts)) * asked["train"]
        shared += len(kind.prompts) * text * (facts + placed_once + trained + beside)
        each += len(kind.prompts) * text * chosen
    return round(shared), round(each)


def _known_facts(ctx: EvalContext, kind: Entities, sizes: Sizes) -> tuple[Facts, dict[str, dict[str, list[int]]]]:
    """(facts that the model knows, {attribute: {split: [known, asked]}})."""
    facts: Facts = {split: {} for split in SPLITS}
    counts: dict[str, dict[str, list[int]]] = {a: {} for a in kind.prompts}
    for attribute in kind.prompts:
        ctx.doing(f"ravel: what the model knows of {kind.kind} {attribute}")
        for split in SPLITS:
            draw = rng("ravel facts", kind.kind, attribute, split)
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
    seed: int | str,
) -> Trials | None:
    """Swaps of an attribute in one split; None where there are too few of either sort.

    Args:
        ctx: the site.
        kind: entities.
        attribute: what is swapped.
        facts: of the split, by attribute, all known.
        sizes: bounds.
        seed: of the draw of swaps.
    """
    draw = rng("ravel swaps", kind.kind, attribute, seed, *sorted(facts))
    own, others = facts.get(attribute, []), {a: f for a, f in facts.items() if a != attribute and f}
    cause = cause_trials(ctx.lm, own, sizes.trials, draw)
    isolate = isolate_trials(ctx.lm, own, others, kind.attributes, sizes.trials, draw)
    if min(len(cause), len(isolate)) < sizes.fewest:
        return None
    mixed = [t for i in draw.permutation(len(cause) + len(isolate)) for t in [(cause + isolate)[i]]]
    longest = max(len(t.base.prompt) + len(t.answer) for t in mixed)
    return placed(ctx.lm, ctx.hook, mixed, min(ctx.batch_tokens, BATCH * longest))


class Learned(NamedTuple):
    """What is learned of an attribute without an SAE, on the train split."""

    x: Tensor
    "Activations at entities. [n, d]"
    group: Tensor
    "Their values. [n] long"
    components: list[Edit]
    "Principal components, more and more of them."
    others: dict[str, Edit]
    "Featurisers that leave nothing to choose."


def _learned(
    ctx: EvalContext, name: str, facts: dict[str, list[Fact]], attribute: str, trials: Trials, sizes: Sizes
) -> Learned:
    """Featurisers that need no SAE.

    Args:
        ctx: the site.
        name: of the attribute with its type of entity.
        facts: of the train split, by attribute.
        attribute: its own name.
        trials: of the train split.
        sizes: bounds.
    """
    lm, hook = ctx.lm, ctx.hook
    x = at_entities(lm, hook, facts[attribute], ctx.batch_tokens)
    values = sorted({f.value for f in facts[attribute]})
    group = torch.tensor([values.index(f.value) for f in facts[attribute]], device=x.device)
    everything = at_entities(lm, hook, [f for listed in facts.values() for f in listed], ctx.batch_tokens)
    components = torch.linalg.svd(everything - everything.mean(0), full_matrices=False)[2]
    ranked = ranked_by_group(x @ components.T, group)
    numbers = [k for k in sizes.latents if k <= len(components)] or [len(components)]
    means = group_mean_basis(x, group).float()
    generator = torch.Generator().manual_seed(derive_seed("ravel", name))
    random, start = (completed(b, sizes.dimensions, generator) for b in (means[:, :0], means))
    mask = train_mask(lm, hook, trials, sizes.steps)
    others = {
        "random": random,
        "diff_in_means": means,
        "dbm": torch.eye(ctx.d_in, device=x.device)[:, mask],
        "das": train_das(lm, hook, trials, start, sizes.steps),
    }
    edits = {key: subspace_edit(basis) for key, basis in others.items()}
    return Learned(x, group, [subspace_edit(components[ranked[:k]].T) for k in numbers], edits)


def _beside(ctx: EvalContext, learned: Learned, val: Trials, test: Trials) -> dict[str, Disentangle]:
    """Scores of the other featurisers on the test split.

    Args:
        ctx: the site.
        learned: what they learned.
        val: swaps that choose the number of principal components.
        test: swaps that are scored.
    """
    pca = learned.components[best(learned.components, lambda edit: scored(ctx, val, edit).disentangle)]
    return {key: scored(ctx, test, edit) for key, edit in {**learned.others, "pca": pca}.items()}
