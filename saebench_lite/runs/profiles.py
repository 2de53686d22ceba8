"""Protocols of other benchmarks as named settings, choices we do not share included: `run --profile NAME`.

For figures that are to stand beside published ones. The default protocol stays ours; a record carries its settings, so
figures of two protocols are never put in one table. What a profile cannot reproduce is in its `beyond`; why we differ,
and by how much, is in docs/parity.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from saebench_lite.errors import SaebenchError

Settings = Mapping[str, Mapping[str, object]]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A peer's protocol."""

    name: str
    source: str
    settings: dict[str, dict[str, Any]]
    "{task: {field: value}}; the tasks it covers are its keys."
    beyond: tuple[str, ...] = ()
    "What stays different whatever the settings."


PROFILES = {
    p.name: p
    for p in (
        Profile(
            name="saebench-0.6",
            source="SAEBench 0.6.0, arXiv:2503.09532",
            settings={
                "sparse_probing": {
                    "ks": (1, 2, 5),
                    "poolings": ("mean",),
                    "detector_poolings": ("mean",),
                    "selection": "raw",
                    "probe": "l2",
                    "redraw": True,
                    "max_train": 4000,
                    "max_test": 1000,
                    "dedupe": False,
                    "context": 128,
                },
                "absorption": {
                    "contexts": "examples",
                    "probes": "adam",
                    "contribution": "cosine",
                    "keep_negative": True,
                    "silent": 0.0,
                    "words": "all",
                    "min_share": 20 / 26,
                },
                "ce_delta": {"ablate": "all", "context": 128},
                "reconstruction": {"peer_metrics": True},
            },
            beyond=(
                "texts are not packed into rows of 128 tokens, and negatives come from all other texts instead of in"
                " equal numbers from each class",
                "probes on the whole code and the model's own channels, whose epoch is chosen on the test set, are left"
                " out; baselines keep our fit",
                "the SAE runs in float32, whatever the model's dtype",
                "draws come from the run's seeds; the peer's depend on the order of calls or on nothing at all",
            ),
        ),
        Profile(
            name="sae-probes-0.4",
            source="sae-probes 0.4.2, arXiv:2502.16681",
            settings={
                "sparse_probing": {
                    "ks": (1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
                    "poolings": ("last",),
                    "detector_poolings": ("last",),
                    "selection": "normalised",
                    "probe": "l1",
                    "dedupe": False,
                },
            },
            beyond=("baselines keep our fit; the peer's choose an unstandardised L2 strength by AUROC",),
        ),
        Profile(
            name="axbench",
            source="AxBench, arXiv:2501.17148",
            settings={"concept_detection": {"fit_on": "tokens", "threshold": "test", "decimals": 3}},
            beyond=(
                "texts are read as plain text, without the chat template of an instruction-tuned model",
                "SSV and IG, which train through the language model, are not run; ReFT-r1 learns from plain texts",
            ),
        ),
    )
}


def profile(name: object) -> Profile:
    """The profile called `name`; SaebenchError that lists those there are."""
    if not isinstance(name, str) or name not in PROFILES:
        raise SaebenchError(f"there is no profile {name!r}; choose {', '.join(PROFILES)}")
    return PROFILES[name]


def apply(
    name: str | None, tasks: Sequence[str] | None, settings: Settings | None
) -> tuple[Sequence[str] | None, dict[str, dict[str, object]]]:
    """Tasks and settings of a run under a profile (none: as they are); the run's own settings win field by field.

    SaebenchError for a task that the profile does not cover.
    """
    given = {task: dict(fields) for task, fields in (settings or {}).items()}
    if name is None:
        return tasks, given
    chosen = profile(name)
    if outside := sorted(set(tasks or ()) - set(chosen.settings)):
        raise SaebenchError(
            f"profile {name!r} says nothing about task {outside[0]!r}; it covers {', '.join(chosen.settings)}"
        )
    todo = list(tasks or chosen.settings)
    return todo, {task: chosen.settings[task] | given.pop(task, {}) for task in todo} | given
