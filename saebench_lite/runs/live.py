"""Objects that a call from Python brings along in the place of names: SAEs, a model, data, tasks, baselines."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from saebench_lite import registry
from saebench_lite.api.baseline import Baseline
from saebench_lite.api.task import Task
from saebench_lite.data.types import Data
from saebench_lite.errors import SaebenchError, kind_of
from saebench_lite.models.protocol import Model
from saebench_lite.runs import config_checks as checks
from saebench_lite.saes.protocol import SAE

T = TypeVar("T", Task, Baseline)
SAEs = SAE | str | Mapping[str, SAE] | Sequence[SAE] | Sequence[str] | None
"What `run` takes as SAEs: one or more, as objects or specs; None: the bundled ones, if their site is among those run."


@dataclass(frozen=True, kw_only=True)
class Live:
    """Objects that no file can hold, in place of the names in a run's configuration."""

    saes: Mapping[str, SAE] | None = None
    model: Model | None = None
    data: Data | None = None
    tasks: Sequence[Task] | None = None
    baselines: Sequence[Baseline] | None = None

    @property
    def names(self) -> list[str]:
        """Of the parts that are given."""
        return [f.name for f in dataclasses.fields(self) if getattr(self, f.name) is not None]

    @contextmanager
    def registered(self) -> Iterator[None]:
        """Inside the block the tasks and baselines are found by their names, as those of a plugin are."""
        tasks = [registry.entry_of("tasks", t.card.name, t, t.prepare) for t in self.tasks or ()]
        with registry.lent([*tasks, *map(_baseline_entry, self.baselines or ())]):
            yield


def _baseline_entry(baseline: Baseline) -> tuple[registry.Kind, registry.Entry]:
    (maker,) = vars(baseline.method).values()
    return registry.entry_of("baselines", baseline.name, baseline, maker)


def split_saes(saes: SAEs) -> tuple[Mapping[str, SAE] | None, Sequence[str] | None]:
    """(objects by name, specs) of what a caller gave, one of them None; both for None.

    Objects without names of their own (`named`) are called by their `name` or class. SaebenchError for anything else,
    for objects among specs, a class in place of its object, one object twice, or a name that is no text.
    """
    if saes is None or isinstance(saes, str):
        return None, None if saes is None else (saes,)
    if isinstance(saes, Mapping):
        if bad := [name for name in saes if not isinstance(name, str) or not name.strip()]:
            raise SaebenchError(f"saes holds an SAE called {bad[0]!r}; give each a text as its name: {{name: SAE}}")
        return saes, None
    if not isinstance(saes, Sequence):
        if not hasattr(saes, "encode"):
            raise SaebenchError(f"saes is {kind_of(saes)}; give an SAE, a list of SAEs, {{name: SAE}}, or specs")
        return named([saes]), None
    specs = [item for item in saes if isinstance(item, str)]
    if len(specs) == len(saes):
        return None, specs
    if specs:
        raise SaebenchError(f"saes holds objects and the spec {specs[0]!r}; load it first: saebench_lite.load(spec)")
    return named([item for item in saes if not isinstance(item, str)]), None


def named(saes: Sequence[SAE]) -> dict[str, SAE]:
    """SAEs by their `name` or else their class, the second of a name as `name_2`, and so on.

    SaebenchError for what is no object of an SAE, or for one object twice.
    """
    out: dict[str, SAE] = {}
    for sae in saes:
        if isinstance(sae, type) or not hasattr(sae, "encode"):
            what = f"the class {sae.__name__}" if isinstance(sae, type) else f"{kind_of(sae)}"
            raise SaebenchError(f"saes holds {what}; give objects with encode and decode, or specs alone")
        own = getattr(sae, "name", None)
        base = name = own if isinstance(own, str) and own.strip() else type(sae).__name__
        if twin := next((n for n, other in out.items() if other is sae), None):
            raise SaebenchError(f"saes holds the object {twin!r} twice; give it once, or name both: {{name: SAE}}")
        number = 1
        while name in out:
            number += 1
            name = f"{base}_{number}"
        out[name] = sae
    return out


def split_model(model: str | Model | Sequence[str]) -> tuple[Model | None, str | Sequence[str]]:
    """(the loaded model, its name or those given) of what a caller gave; SaebenchError for what is neither."""
    if model is None or isinstance(model, str | Sequence):
        return None, model
    if not (hasattr(model, "name") and hasattr(model, "collect")):
        raise SaebenchError(
            f"model is {kind_of(model)}; give a name, a list of names, or a LanguageModel of"
            " saebench_lite.models.language_model"
        )
    return model, model.name


def split_tasks(given: str | Task | Sequence[str | Task] | None) -> tuple[list[str] | None, list[Task] | None]:
    """(names of all, those that are objects and not registered) of what a caller gave; None for none."""
    return _split("tasks", given, Task)


def split_baselines(
    given: str | Baseline | Sequence[str | Baseline] | None,
) -> tuple[list[str] | None, list[Baseline] | None]:
    """As `split_tasks`, of baselines."""
    return _split("baselines", given, Baseline)


def _split(kind: registry.Kind, given: object, needed: type[T]) -> tuple[list[str] | None, list[T] | None]:
    if given is None:
        return None, None
    items = checks.names(kind, given) if isinstance(given, str) else [given] if isinstance(given, needed) else given
    if not isinstance(items, Sequence):
        raise SaebenchError(f"{kind} is {kind_of(given)}; give names, {needed.__name__} objects, or a list")
    names: list[str] = []
    objects: list[T] = []
    for item in items:
        if isinstance(item, needed):
            names.append(item.card.name if isinstance(item, Task) else item.name)
            objects += [] if _is_registered(kind, names[-1], item) else [item]
        elif isinstance(item, str):
            names.append(item)
        else:
            raise SaebenchError(f"{kind} holds {kind_of(item)}; give names or {needed.__name__} objects")
    return names, objects or None


def _is_registered(kind: registry.Kind, name: str, thing: object) -> bool:
    with suppress(SaebenchError):  # no such name, or a broken one
        return registry.get(kind, name) is thing
    return False
