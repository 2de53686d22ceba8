"""Specification of a world. It determines everything in it, the seed included."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field

from saebench_lite.errors import SaebenchError
from saebench_lite.stats.seeds import rng


@dataclass(frozen=True, kw_only=True)
class WorldSpec:
    """A world in the manner of SynthSAEBench (Chanin & Garriga-Alonso, arXiv:2602.14687), with noise on top.

    Firing rates fall with the feature's index: r_i = (i + 1)^-zipf, mapped so that the first is p_max and the last
    p_min. The first roots * (1 + b + ... + b^depth) features form trees, level after level; the rest are free.
    """

    features: int
    d: int
    zipf: float = 0.5
    p_max: float = 0.4
    p_min: float = 5e-4
    mean_first: float = 5.0
    "Mean magnitude of the most frequent feature when it fires; falls linearly to mean_last."
    mean_last: float = 4.0
    sd_mean: float = 0.5
    "A feature's magnitude has sd |N(sd_mean, sd_sd)|."
    sd_sd: float = 0.5
    rank: int = 25
    "Rank of the correlation between features' firing (Gaussian copula); 0: independent."
    correlation: float = 0.1
    "Scale of the factor loadings."
    roots: int = 0
    branching: int = 4
    depth: int = 3
    exclusive: bool = True
    "Of siblings that would fire together, one fires."
    compensate: bool = True
    "Children are drawn more often, to make up for those that their parent or a sibling silences."
    scale_children: bool = True
    "A child's magnitude is multiplied by its parent's over the parent's mean."
    orthogonalise: int = 0
    "Adam steps that push the directions apart (lr 3e-4)."
    bias_norm: float = 0.5
    noise: float = 0.0
    "Standard deviation of Gaussian noise on every coordinate of an activation."
    tokens: int = 4
    "Tokens of a text."
    persistence: float = 0.0
    "Share of the variance of a feature's latent Gaussian that the tokens of a text have in common; 0: independent."
    seed: int = 42
    causes: int = field(default=0, repr=False)
    "Features that predictions are computed from, those that fire most; 0: a linear readout of the whole activation."
    drawn_on: str = field(default="cpu", repr=False)
    "Device whose random generator draws the samples: large worlds are slow on the CPU, a card draws other samples."

    def __post_init__(self) -> None:
        if not (0 < self.p_min <= self.p_max < 1):
            raise SaebenchError(f"firing rates must satisfy 0 < p_min <= p_max < 1, not {self.p_min} and {self.p_max}")
        if self.features < 2 or self.d < 2:
            raise SaebenchError(f"a world needs two features and two dimensions, not {self.features} and {self.d}")
        if self.tokens < 1 or not 0 <= self.persistence < 1:
            raise SaebenchError(
                f"a text needs a token, and a persistence in [0, 1), not {self.tokens} and {self.persistence}"
            )
        if self.drawn_on not in ("cpu", "cuda"):
            raise SaebenchError(f"samples of a world are drawn on cpu or cuda, not on {self.drawn_on!r}")
        if not 0 <= self.causes <= self.features:
            raise SaebenchError(f"a world has 0 to {self.features} causes, as many as features, not {self.causes}")
        if self.in_trees > self.features:
            raise SaebenchError(
                f"{self.roots} trees of depth {self.depth} need {self.in_trees} features, but there are {self.features}"
            )

    @property
    def in_trees(self) -> int:
        """Features that belong to a tree."""
        return self.roots * sum(self.branching**level for level in range(self.depth + 1))


STANDARD = WorldSpec(features=16_384, d=768, roots=128, orthogonalise=100)
"SynthSAEBench-16k, version 2 (children scaled by their parents)."
SMALL = WorldSpec(features=1024, d=128, p_max=0.3, p_min=2e-3, roots=32, depth=2, rank=12, correlation=0.15, noise=0.1)
TINY = WorldSpec(features=96, d=24, p_max=0.3, p_min=0.01, roots=8, branching=3, depth=1, rank=4, noise=0.05)
NAMED = {"standard-16k": STANDARD, "small": SMALL, "tiny": TINY}


def draw(secret: int, base: WorldSpec = SMALL) -> WorldSpec:
    """A world of the size of `base` whose other properties are drawn from `secret`, so that nobody can train for it."""
    r = rng("secret world", secret)
    return dataclasses.replace(
        base,
        zipf=float(r.uniform(0.3, 0.8)),
        p_max=float(base.p_max * r.uniform(0.6, 1.3)),
        p_min=float(base.p_min * r.uniform(0.7, 2.0)),
        mean_last=float(r.uniform(3.0, 5.0)),
        sd_mean=float(r.uniform(0.2, 1.0)),
        rank=int(r.integers(0, 2 * base.rank + 1)),
        correlation=float(r.uniform(0.0, 0.25)),
        roots=int(r.integers(base.roots // 4, base.roots + 1)),
        exclusive=bool(r.random() < 0.7),
        scale_children=bool(r.random() < 0.5),
        noise=float(r.uniform(0.0, 0.3)),
        bias_norm=float(r.uniform(0.0, 3.0)),
        seed=int(r.integers(1 << 31)),
    )


def parse(name: str) -> WorldSpec:
    """The world of a name; SaebenchError for anything else.

    `small`, `small-7` (seed 7), `secret-123` (drawn from 123), `standard-16k`, each with fields changed after commas:
    `small-7,tokens=16,branching=40`.
    """
    stem, *changes = name.split(",")
    return dataclasses.replace(_named(stem), **dict(_changed(change, name) for change in changes))


def _named(name: str) -> WorldSpec:
    if name in NAMED:
        return NAMED[name]
    if match := re.fullmatch(r"secret-(\d+)", name):
        return draw(int(match[1]))
    stem, _, seed = name.rpartition("-")
    if stem in NAMED and seed.isdecimal() and seed.isascii() and len(seed) < 10:
        return dataclasses.replace(NAMED[stem], seed=int(seed))
    raise SaebenchError(f"no world is called {name!r}; there are {', '.join(NAMED)}, NAME-SEED and secret-SEED")


def _changed(change: str, name: str) -> tuple[str, bool | int | float | str]:
    """(field, value) of `field=value`; SaebenchError that names the field, the value and what would be right."""
    field, _, text = change.partition("=")
    default = {f.name: f for f in dataclasses.fields(WorldSpec)}.get(field)
    if default is None:
        names = ", ".join(f.name for f in dataclasses.fields(WorldSpec))
        raise SaebenchError(f"world {name!r} has no field {field!r} to change; there are {names}")
    kind = {"bool": bool, "int": int, "float": float, "str": str}[str(default.type)]
    try:
        return field, {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise SaebenchError(
            f"world {name!r}: {field}={text} is not {'true or false' if kind is bool else kind.__name__}"
        ) from None
