"""Who is who in an audit: trained SAEs by architecture and L0 level, snapshots of trainings, oracle, controls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from saebench_lite.api.registered import is_random_control
from saebench_lite.records.dataclass_json import from_json
from saebench_lite.records.record import Record
from saebench_lite.records.types import SubjectInfo

OFF_LEVEL = 1.25
"Factor between the L0 asked for and the one measured, from which an SAE is not at its level."


@dataclass(frozen=True)
class PanelRole:
    """What a trained SAE is in the panel, as its metadata say under `panel`."""

    of: str
    "The training it belongs to."
    share: float
    "Share of the training done; 1 is the trained SAE."
    architecture: str
    l0: int
    "The L0 that its recipe asked for."
    identity: str | None = None
    "Digest of the recipe, by which a panel is resumed."


def _role(subject: SubjectInfo) -> PanelRole:
    return from_json(PanelRole, subject.meta["panel"], f"the panel entry of {subject.name!r}")


@dataclass(frozen=True)
class SubjectRoles:
    """Who the subjects of an audit are."""

    levels: list[int]
    "L0 asked for, ascending."
    grid: dict[str, list[str]]
    "The trained SAEs of each architecture, one a level; architectures without an SAE at every level are left out."
    off_level: dict[str, float]
    "Trained SAEs that missed their L0 by `OFF_LEVEL` or more, with the one measured; they are at no level."
    oracle: str | None
    controls: dict[str, str]
    "The random dictionary made of each SAE, where there is one."
    trajectories: list[list[str]]
    "Snapshots in the order of training, the trained SAE last."

    @property
    def trained(self) -> list[str]:
        """All trained SAEs, architecture by architecture."""
        return [name for names in self.grid.values() for name in names]


def _off(measured: float, asked: float) -> bool:
    """Whether an L0 is further from the one asked for than `OFF_LEVEL` allows."""
    return measured <= 0 or abs(math.log(measured / asked)) >= math.log(OFF_LEVEL)


def roles_of(records: Sequence[Record]) -> SubjectRoles:
    """Roles out of the records' subjects."""
    subjects = {r.subject.name: r.subject for r in records if r.status == "ok" and r.task.name == "truth"}
    role = {n: _role(s) for n, s in subjects.items() if "panel" in s.meta and s.kind == "sae"}
    coded = [r for r in records if r.task.name == "reconstruction" and r.status == "ok"]
    measured = {r.subject.name: r.scores["l0"].value for r in coded}
    trained = {n: r for n, r in role.items() if r.share == 1.0}
    off = {n: measured[n] for n, r in trained.items() if n in measured and _off(measured[n], r.l0)}
    at = {(r.architecture, r.l0): n for n, r in trained.items() if n not in off}
    levels = sorted({l0 for _, l0 in at})
    grid = {a: [at[a, l0] for l0 in levels] for a in sorted({a for a, _ in at}) if all((a, l0) in at for l0 in levels)}
    followed = sorted({r.of for r in role.values() if 0 <= r.share < 1})
    random = sorted(n for n, s in subjects.items() if s.kind == "control" and is_random_control(n))
    return SubjectRoles(
        levels=levels,
        grid=grid,
        off_level=off,
        oracle=next((n for n, s in subjects.items() if s.kind == "oracle"), None),
        controls={n.partition(" of ")[2]: n for n in random if " of " in n},
        trajectories=[
            sorted((n for n, r in role.items() if r.of == of), key=lambda n: role[n].share) for of in followed
        ],
    )
