"""Who is who in an audit: trained SAEs by architecture, snapshots of trainings, oracle, controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from saebench_lite.api.registered import is_random_control
from saebench_lite.records.dataclass_json import from_json
from saebench_lite.records.record import Record
from saebench_lite.records.types import SubjectInfo


@dataclass(frozen=True)
class PanelRole:
    """What a trained SAE is in the panel, as its metadata say under `panel`."""

    of: str
    "The training it belongs to."
    share: float
    "Share of the training done; 1 is the trained SAE."
    architecture: str
    identity: str | None = None
    "Digest of the recipe, by which a panel is resumed."


def _role(subject: SubjectInfo) -> PanelRole:
    return from_json(PanelRole, subject.meta["panel"], f"the panel entry of {subject.name!r}")


@dataclass(frozen=True)
class SubjectRoles:
    """Who the subjects of an audit are."""

    trained: list[str]
    judged: list[str]
    "Trained SAEs, oracle and controls: those the truth is correlated over."
    oracle: str | None
    random: list[str]
    architectures: dict[str, list[str]]
    trajectories: list[list[str]]
    "Snapshots in the order of training, the trained SAE last."


def roles_of(records: Sequence[Record]) -> SubjectRoles:
    """Roles out of the records' subjects."""
    subjects = {r.subject.name: r.subject for r in records if r.status == "ok" and r.task.name == "truth"}
    role = {n: _role(s) for n, s in subjects.items() if "panel" in s.meta}
    trained = sorted(n for n, r in role.items() if r.share == 1.0)
    architectures: dict[str, list[str]] = {}
    for name in trained:
        architectures.setdefault(role[name].architecture, []).append(name)
    followed = sorted({r.of for r in role.values() if 0 <= r.share < 1})
    trajectories = [sorted((n for n, r in role.items() if r.of == of), key=lambda n: role[n].share) for of in followed]
    oracle = next((n for n, s in subjects.items() if s.kind == "oracle"), None)
    controls = sorted(n for n, s in subjects.items() if s.kind == "control" and n not in role)
    random = [n for n in controls if is_random_control(n)]
    return SubjectRoles(
        trained, [*trained, *([oracle] if oracle else []), *controls], oracle, random, architectures, trajectories
    )
