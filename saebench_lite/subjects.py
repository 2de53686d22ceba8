"""Who is on trial: SAEs from specs or live objects, baselines, stand-ins, and controls made out of the SAEs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import torch

from saebench_lite import loading, registry
from saebench_lite.bench import Bench
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.record import digest
from saebench_lite.sae import SAE, check_sae, device_of, fingerprint
from saebench_lite.task import WAYS, Baseline, Subject

MAKING_SEED = 42
"Seed from which stand-ins and controls are made: the same ones in every run."


def subjects_of(
    saes: Mapping[str, SAE] | Sequence[str],
    baselines: Sequence[str] | None,
    control_of: Sequence[str] | None,
    bench: Bench,
    say: Callable[[str], None],
) -> list[Subject]:
    """All subjects of a run, SAEs first; see `runner.run` for the arguments. SaebenchError if two share a name."""
    names = _default_baselines(bench) if baselines is None else baselines
    chosen: dict[str, Baseline] = {n: registry.get("baselines", n) for n in names}
    on_trial = _sae_subjects(saes, bench, say)
    found = [*on_trial, *_baseline_subjects(chosen, bench, say), *_derived(chosen, on_trial, control_of, bench, say)]
    seen = [s.name for s in found]
    if twice := sorted({n for n in seen if seen.count(n) > 1}):
        raise SaebenchError(f"two subjects are called {twice[0]!r}; name one of them: --sae other_name=spec")
    return found


def _default_baselines(bench: Bench) -> list[str]:
    found = {n: registry.get("baselines", n) for n in registry.names("baselines")}
    return [n for n, b in found.items() if b.default and (bench.lm.planted or b.site == "any")]


def _sae_subjects(saes: Mapping[str, SAE] | Sequence[str], bench: Bench, say: Callable[[str], None]) -> list[Subject]:
    subjects = []
    for item in saes:
        spec_name = item if isinstance(saes, Mapping) else loading.parse(item).name
        try:
            name, sae = (item, saes[item]) if isinstance(saes, Mapping) else loading.load(item)
            check_sae(sae, d_in=bench.d_in, sample=None)
            if hasattr(sae, "to"):
                sae = sae.to(bench.device)  # type: ignore[attr-defined]
            meta = getattr(sae, "meta", {}) | {"d_sae": sae.d_sae}
            subjects.append(Subject(name=name, kind="sae", fingerprint=fingerprint(sae), sae=sae, meta=meta))
        except SaebenchError as error:
            say(f"{spec_name}: {error}")
            subjects.append(_broken(spec_name, str(error)))
    return subjects


def _broken(name: str, reason: str) -> Subject:
    """A subject that could not be loaded; every task records why."""
    return Subject(name=name, kind="sae", fingerprint="unreadable", meta={"error": reason})


def _baseline_subjects(baselines: Mapping[str, Baseline], bench: Bench, say: Callable[[str], None]) -> list[Subject]:
    subjects = []
    for name, baseline in baselines.items():
        if baseline.make is not None:
            make = baseline.make
            subjects += _made(name, baseline, lambda make=make: make(bench, MAKING_SEED), bench, say)
        elif baseline.derive is None:
            package, _ = registry.owner("baselines", name)
            identity = digest([package, name, baseline.version])
            ways = {way: getattr(baseline, way) for way in WAYS}
            subjects.append(Subject(name=name, kind=baseline.kind, fingerprint=identity, **ways))
    return subjects


def _derived(
    baselines: Mapping[str, Baseline],
    on_trial: Sequence[Subject],
    control_of: Sequence[str] | None,
    bench: Bench,
    say: Callable[[str], None],
) -> list[Subject]:
    """Controls made out of SAEs on trial, named `control of SAE`."""
    makers = {n: b for n, b in baselines.items() if b.derive is not None}
    saes = {s.name: s.the_sae() for s in on_trial if s.sae is not None}
    if not makers or not saes:
        return []
    chosen = [_median_l0(saes, bench)] if control_of is None else list(saes) if "all" in control_of else control_of
    if unknown := sorted(set(chosen) - {s.name for s in on_trial}):
        raise SaebenchError(f"controls are asked of {unknown[0]!r}, which is not among the SAEs {', '.join(saes)}")
    subjects = []
    for name, baseline in makers.items():
        for of in chosen:
            if of in saes:
                build = lambda b=baseline, of=of: b.derive(saes[of], bench, MAKING_SEED)  # type: ignore[misc]  # noqa: E731
                subjects += _made(f"{name} of {of}", baseline, build, bench, say)
    return subjects


@torch.no_grad()
def _median_l0(saes: Mapping[str, SAE], bench: Bench) -> str:
    """The SAE whose L0 on a sample is the median (the lower one of two), whatever order they came in."""
    if len(saes) == 1:
        return next(iter(saes))
    x = bench.sample(64)
    l0 = {n: sum((s.encode(p.to(device_of(s))) != 0).sum().item() for p in x.split(256)) for n, s in saes.items()}
    ordered = sorted(l0, key=lambda n: (l0[n], n))
    return ordered[(len(ordered) - 1) // 2]


def _made(
    name: str, baseline: Baseline, build: Callable[[], SAE], bench: Bench, say: Callable[[str], None]
) -> list[Subject]:
    """The subject that `build` gives; none where it does not apply, one that fails where it breaks."""
    try:
        sae = build()
        sae = sae.to(bench.device) if hasattr(sae, "to") else sae  # type: ignore[attr-defined]
        check_sae(sae, d_in=bench.d_in)
    except NotApplicable as reason:
        say(f"{name} is left out: {reason}")
        return []
    except SaebenchError as error:
        return [dataclasses.replace(_broken(name, str(error)), kind=baseline.kind)]
    meta = getattr(sae, "meta", {}) | {"d_sae": sae.d_sae}
    return [Subject(name=name, kind=baseline.kind, fingerprint=fingerprint(sae), sae=sae, meta=meta)]
