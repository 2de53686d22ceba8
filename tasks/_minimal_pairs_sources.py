"""Where minimal pairs come from: the project's own texts, BLiMP, swaps of RAVEL's entities, features of a world."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from saebench_lite.activations.acts import Acts
from saebench_lite.api.context import EvalContext
from saebench_lite.data.types import Corpus
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.stats.seeds import derive_seed, rng
from saebench_lite.tasks._minimal_pairs_sample import Attribute, Sample
from saebench_lite.tasks._minimal_pairs_texts import own_sample
from saebench_lite.tasks._ravel_files import Entities, kinds, read_entities
from saebench_lite.worlds.model import WorldModel

Places = dict[str, tuple[int, tuple[str, ...]]]
"{attribute: (its place, its values)}"

VALUES = 6
"Most frequent values of one of RAVEL's attributes that are concepts."
CANDIDATES = 64
"Entities among which the twin that shares most other attributes is taken."
TEMPLATES = 3
"Shortest prompts of an attribute in a split: longer ones name other entities."
POOL = 4096
"Samples of a world among which those that hold a feature are looked for."


class Activated(NamedTuple):
    """Activations of texts with known attributes."""

    acts: Acts
    attributes: tuple[Attribute, ...]
    labels: np.ndarray
    "[texts, attributes], UNKNOWN where a text says nothing."
    match: np.ndarray
    "[n]"
    pairs: np.ndarray
    "[p, 2]"
    texts: str = ""
    "Digest of the texts; empty on a world."
    truth: torch.Tensor | None = None
    "True features of each text of a world. [texts, N]"


Sizes = tuple[int, int, int]
"Texts to match latents on, pairs of an attribute, and attributes, each at most."


def activated(ctx: EvalContext, path: Path | None, sizes: Sizes, seed: int) -> Activated:
    """The pairs of a site and their activations.

    Args:
        ctx: the site.
        path: BLiMP's or RAVEL's files; None: a world's features on a world, else the project's own texts.
        sizes: bounds.
        seed: of the draw.
    """
    if isinstance(ctx.lm, WorldModel):
        if path is not None:
            raise NotApplicable(f"{ctx.lm.name} reads no words; leave the setting pairs out to toggle its features")
        return _toggled(ctx.lm, *sizes, seed)
    sample = _drawn(path, sizes, seed)
    if not len(sample.pairs) or not len(sample.match):
        raise NotApplicable(
            f"{path} yields {len(sample.pairs)} pairs and {len(sample.match)} texts to match latents on"
        )
    corpus = Corpus("minimal pairs", sample.texts)
    rows = sample.labels, sample.match, sample.pairs
    return Activated(ctx.acts(corpus), sample.attributes, *rows, corpus.fingerprint[:16])


def tokens_of_pairs(ctx: EvalContext, path: Path | None, sizes: Sizes, seeds: Sequence[int]) -> int:
    """Estimated tokens of the texts of `activated`; none on a world, which reads no words."""
    if isinstance(ctx.lm, WorldModel):
        return 0
    drawn = (_drawn(path, sizes, seed).texts for seed in seeds)
    return sum(ctx.estimated_tokens(Corpus("minimal pairs", texts)) for texts in drawn if texts)


def _drawn(path: Path | None, sizes: Sizes, seed: int) -> Sample:
    """The texts of a seed."""
    texts, pairs, attributes = sizes
    draw = rng("minimal_pairs", seed)
    if path is None:
        return own_sample(texts, pairs, draw)
    if path.is_dir() and not any(path.glob("*.jsonl")):
        return _ravel_swaps(path, texts, pairs, attributes, draw)
    return _blimp(path, pairs, attributes, draw)


def _blimp(path: Path, pairs: int, attributes: int, draw: np.random.Generator) -> Sample:
    """Half of a set's pairs to match latents on, the other half as pairs: `bad` and then `good`.

    Args:
        path: a folder of .jsonl files, one of them, or an archive of them.
        pairs: of a set.
        attributes: sets.
        draw: chooses pairs.
    """
    sets = dict(list(_blimp_sets(path))[:attributes])
    sample = Sample(tuple(Attribute(name, ("bad", "good")) for name in sets))
    for place, rows in enumerate(sets.values()):
        order = draw.permutation(len(rows))[: 2 * pairs]
        for i in order[: len(order) // 2]:
            for value, text in enumerate(rows[i]):
                sample.to_match(text, {place: value})
        for i in order[len(order) // 2 :]:
            bad, good = rows[i]
            sample.pair((bad, {place: 0}), (good, {place: 1}))
    return sample


def _blimp_sets(path: Path) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """(name, [(bad, good) sentences]) of each set, in the order of the files' names."""
    if not path.exists():
        raise SaebenchError(
            f"the setting pairs names {path}, which does not exist; name BLiMP's folder of .jsonl files or its archive"
            " (github.com/alexwarstadt/blimp), or RAVEL's folder (github.com/explanare/ravel)"
        )
    if path.is_dir() or path.suffix == ".jsonl":
        files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
        contents = ((file.stem, file.read_text(encoding="utf-8")) for file in files)
    else:
        contents = iter(_archived(path))
    for name, text in contents:
        try:
            lines = [json.loads(line) for line in text.splitlines() if line.strip()]
            yield name, [(line["sentence_bad"], line["sentence_good"]) for line in lines]
        except (ValueError, KeyError, TypeError) as error:
            raise SaebenchError(
                f"{name} of {path} is no BLiMP set ({type(error).__name__}); its lines are JSON with sentence_good and"
                " sentence_bad"
            ) from error


def _archived(path: Path) -> list[tuple[str, str]]:
    try:
        with tarfile.open(path) as archive:
            files = sorted((m for m in archive if m.name.endswith(".jsonl")), key=lambda m: m.name)
            opened = ((m.name, archive.extractfile(m)) for m in files)
            return [(Path(name).stem, f.read().decode("utf-8")) for name, f in opened if f is not None]
    except (tarfile.TarError, OSError, UnicodeDecodeError) as error:
        raise SaebenchError(f"{path} is no archive of .jsonl files; name BLiMP's blimp.tgz or its folder") from error


def _ravel_swaps(path: Path, texts: int, pairs: int, attributes: int, draw: np.random.Generator) -> Sample:
    """The same prompt with two entities that differ in an attribute, and share as many of the others as may be.

    Entities and prompts of the official test split make the pairs, those of train and val the texts to match.

    Args:
        path: RAVEL's folder.
        texts: to match latents on, of an attribute.
        pairs: of an attribute.
        attributes: at most.
        draw: chooses entities.
    """
    asked = [(e, a) for kind in kinds(path) for e in [read_entities(path, kind)] for a in e.prompts]
    listed = [(e, a, values) for e, a in asked if len(values := _frequent(e, a)) > 1][:attributes]
    sample = Sample(tuple(Attribute(f"{e.kind} {a}", values) for e, a, values in listed))
    for place, (kind, attribute, _) in enumerate(listed):
        places: Places = {a: (i, v) for i, (e, a, v) in enumerate(listed) if e.kind == kind.kind}

        def labels(entity: str, kind: Entities = kind, places: Places = places) -> dict[int, int]:
            own = kind.attributes[entity]
            return {i: v.index(own[a]) for a, (i, v) in places.items() if own.get(a) in v}

        named = {s: [e for e in kind.entities(s) if place in labels(e)] for s in ("train", "val", "test")}
        for split in ("train", "val"):
            for prompt in _shortest(kind.prompts_of(attribute, split)):
                for i in draw.permutation(len(named[split]))[: texts // (2 * TEMPLATES)]:
                    sample.to_match(prompt.replace("%s", named[split][i]), labels(named[split][i]))
        prompts = _shortest(kind.prompts_of(attribute, "test"))
        for first in draw.permutation(named["test"])[:pairs] if prompts else ():
            near = [e for e in draw.permutation(named["test"])[:CANDIDATES] if labels(e)[place] != labels(first)[place]]
            if near:
                twin = max(near, key=lambda e: len(labels(e).items() & labels(first).items()))
                prompt = str(draw.choice(prompts))
                both = ((prompt.replace("%s", str(e)), labels(e)) for e in (first, twin))
                sample.pair(*both)
    return sample


def _frequent(kind: Entities, attribute: str) -> tuple[str, ...]:
    """Values of an attribute that two entities or more of the test split have, the most frequent ones, sorted."""
    counts = Counter(v for e in kind.entities("test") if (v := kind.attributes[e].get(attribute)))
    return tuple(sorted(v for v, n in counts.most_common(VALUES) if n > 1))


def _shortest(prompts: list[str]) -> list[str]:
    return sorted(prompts, key=lambda p: (len(p), p))[:TEMPLATES]


def _toggled(model: WorldModel, texts: int, pairs: int, attributes: int, seed: int) -> Activated:
    """Samples of one token, and for each frequent feature samples that hold it beside the same without it.

    A pair's second sample is drawn as any other; its first lacks the feature, which no child of it needs there. Both
    have the same noise.

    Args:
        model: the world.
        texts: to match features on.
        pairs: of a feature.
        attributes: features, evenly spaced among the quarter that fires most.
        seed: of the draw.
    """
    world = model.world
    quarter = world.spec.features // 4
    spread = np.linspace(0, quarter - 1, min(attributes, quarter)).round().astype(int)
    chosen = model.by_frequency[torch.from_numpy(spread)].tolist()
    pool = world.features(texts + POOL, "minimal pairs", seed)
    match, rows, without = pool[:texts], [], []
    for feature in chosen:
        children = world.forest.parent == feature
        fits = (pool[:, feature] > 0) & ~(pool[:, children] > 0).any(1)
        fits[:texts] = False
        rows += (taken := fits.nonzero()[:, 0][:pairs].tolist())
        without += [feature] * len(taken)
    after = pool[rows]
    before = after.clone()
    before[torch.arange(len(rows)), torch.tensor(without, dtype=torch.long)] = 0
    truth = torch.cat([match, before, after])
    noise = derive_seed("minimal pairs", seed)
    x = torch.cat([world.activations(match, noise), *(world.activations(a, noise, "pairs") for a in (before, after))])
    starts = np.arange(len(rows))[:, None] + np.array([[0, len(rows)]]) + len(match)
    labels = (truth[:, chosen] > 0).long().cpu().numpy()
    attributes_of = tuple(Attribute(f"feature {f}", ("", "present")) for f in chosen)
    acts = Acts(x.cpu(), torch.arange(len(x) + 1))
    return Activated(acts, attributes_of, labels, np.arange(len(match)), starts, truth=truth.cpu())
