"""Which controls are random SAEs, and which of them are an SAE's own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from saebench_lite.records.types import SubjectInfo

RANDOM = ("random_topk", "matched_random")
"Names of the controls that are random SAEs, alone or before ` of SAE`."
NEAR_L0 = 0.15
"Difference in log L0 up to which a random control of the same width is an SAE's own."


def is_random(control: SubjectInfo) -> bool:
    """Whether a control is a random SAE."""
    return control.name.split(" of ")[0] in RANDOM


def matches(sae: SubjectInfo, control: SubjectInfo) -> bool:
    """Whether a control is a random SAE that was made of an SAE, or has its width and nearly its L0."""
    if not is_random(control):
        return False
    if control.name == f"matched_random of {sae.name}":
        return True
    l0, at = sae.meta.get("sample_l0"), control.meta.get("matched_l0", control.meta.get("sample_l0"))
    if control.meta.get("d_sae") != sae.meta.get("d_sae") or not (isinstance(l0, float) and isinstance(at, float)):
        return False
    return at > 0 < l0 and abs(math.log(at / l0)) <= NEAR_L0


def not_their_own(subjects: Iterable[SubjectInfo], control_of: Mapping[str, str | None]) -> set[str]:
    """Names of controls that SAEs are held against though they are not of their size.

    Args:
        subjects: all of a table.
        control_of: name of an SAE -> that of its control.
    """
    known = {s.name: s for s in subjects}
    pairs = ((known[sae], known[control]) for sae, control in control_of.items() if control)
    return {control.name for sae, control in pairs if not matches(sae, control)}
