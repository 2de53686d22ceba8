"""Who is on trial: SAEs from specs or live objects, baselines, stand-ins, and controls made out of the SAEs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import torch

from saebench_lite import registry
from saebench_lite.api.context import EvalContext
from saebench_lite.api.subject import WAYS, Baseline, Kind, Subject
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.files import digest
from saebench_lite.loading import open
from saebench_lite.loading import spec as spec_module
from saebench_lite.saes.conformance import check_sae
from saebench_lite.saes.protocol import SAE, device_of, fingerprint

MAKING_SEED = 42
"Seed from which stand-ins and controls are made: the same ones in every run."


def subjects_of(
    saes: Mapping[str, SAE] | Sequence[str],
    baselines: Sequence[str] | None,
    control_of: Sequence[str] | None,
    ctx: EvalContext,
    say: Callable[[str], None],
) -> list[Subject]:
    """All subjects of a run, SAEs first; see `runner.run` for the arguments. SaebenchError if two share a name."""
    names = _default_baselines(ctx) if baselines is None else baselines
    chosen: dict[str, Baseline] = {n: registry.get("baselines", n) for n in names}
    makers = {n: b for n, b in chosen.items() if b.derive is not None}
    l0: dict[str, float] | None = {} if makers and control_of is None and len(saes) > 1 else None
    on_trial = _sae_subjects(saes, ctx, say, l0)
    derived = _derived(makers, on_trial, control_of if control_of is not None else _median(l0, on_trial), ctx, say)
    found = [*on_trial, *_baseline_subjects(chosen, ctx, say), *derived]
    seen = [s.name for s in found]
    if twice := sorted({n for n in seen if seen.count(n) > 1}):
        raise SaebenchError(f"two subjects are called {twice[0]!r}; name one of them: --sae other_name=spec")
    return found


def _default_baselines(ctx: EvalContext) -> list[str]:
    found = {n: registry.get("baselines", n) for n in registry.names("baselines")}
    return [n for n, b in found.items() if b.default and (ctx.lm.planted or b.site == "any")]


def _sae_subjects(
    saes: Mapping[str, SAE] | Sequence[str],
    ctx: EvalContext,
    say: Callable[[str], None],
    l0: dict[str, float] | None,
) -> list[Subject]:
    """Each SAE is read once to know it and let go; its mean L0 on a sample goes into `l0` where that is asked for."""
    subjects = []
    for item in saes:
        spec_name = item if isinstance(saes, Mapping) else spec_module.parse(item).name
        try:
            name, bring = (item, _held(saes[item])) if isinstance(saes, Mapping) else (spec_name, _read(item))
            subject = _known(name, "sae", lambda bring=bring: _placed(bring(), ctx), ctx, l0)
        except SaebenchError as error:
            say(f"{spec_name}: {error}")
            subject = _broken(spec_name, str(error))
        subjects.append(subject)
    return subjects


def _held(sae: SAE) -> Callable[[], SAE]:
    return lambda: sae


def _read(spec: str) -> Callable[[], SAE]:
    """How to get at the SAE of a spec; an importable object is kept, for making it again might give another one."""
    return _held(open.load(spec)[1]) if open.is_object(spec) else lambda: open.load(spec)[1]


def _placed(sae: SAE, ctx: EvalContext) -> SAE:
    return sae.to(ctx.device) if hasattr(sae, "to") else sae  # type: ignore[attr-defined]


@torch.no_grad()
def _known(
    name: str,
    kind: Kind,
    bring: Callable[[], SAE],
    ctx: EvalContext,
    l0: dict[str, float] | None = None,
    identity: str | None = None,
) -> Subject:
    """A subject that brings its SAE again when it is scored; its fingerprint is the SAE's, or `identity`."""
    sae = bring()
    check_sae(sae, d_in=ctx.d_in)
    if l0 is not None:
        l0[name] = _l0(sae, ctx)
    meta = getattr(sae, "meta", {}) | {"d_sae": sae.d_sae}
    return Subject(name=name, kind=kind, fingerprint=identity or fingerprint(sae), bring=bring, meta=meta)


def _broken(name: str, reason: str) -> Subject:
    """A subject that could not be loaded; every task records why."""
    return Subject(name=name, kind="sae", fingerprint="unreadable", meta={"error": reason})


def _baseline_subjects(
    baselines: Mapping[str, Baseline], ctx: EvalContext, say: Callable[[str], None]
) -> list[Subject]:
    subjects = []
    for name, baseline in baselines.items():
        if baseline.make is not None:
            make = baseline.make
            subjects += _made(name, baseline, lambda make=make: make(ctx, MAKING_SEED), _identity(name), ctx, say)
        elif baseline.derive is None:
            identity = _identity(name)
            ways = {way: getattr(baseline, way) for way in WAYS}
            subjects.append(Subject(name=name, kind=baseline.kind, fingerprint=identity, **ways))
    return subjects


def _derived(
    makers: Mapping[str, Baseline],
    on_trial: Sequence[Subject],
    control_of: Sequence[str],
    ctx: EvalContext,
    say: Callable[[str], None],
) -> list[Subject]:
    """Controls made out of SAEs on trial, named `control of SAE`."""
    saes = {s.name: s for s in on_trial if s.form is not None}
    if not makers or not saes:
        return []
    if unknown := sorted(set(control_of) - {s.name for s in on_trial} - {"all"}):
        raise SaebenchError(f"controls are asked of {unknown[0]!r}, which is not among the SAEs {', '.join(saes)}")
    subjects = []
    for name, baseline in makers.items():
        for of in saes if "all" in control_of else control_of:
            if of in saes:
                build = lambda b=baseline, of=of: b.derive(saes[of].opened().require_sae(), ctx, MAKING_SEED)  # type: ignore[misc]  # noqa: E731
                identity = _identity(name, saes[of].fingerprint)
                subjects += _made(f"{name} of {of}", baseline, build, identity, ctx, say)
    return subjects


def _median(l0: Mapping[str, float] | None, on_trial: Sequence[Subject]) -> list[str]:
    """The SAE with the median L0 (the lower one of two), whatever order they came in; any, where none was measured."""
    if not l0:
        return [s.name for s in on_trial if s.form is not None][:1]
    ordered = sorted(l0, key=lambda n: (l0[n], n))
    return [ordered[(len(ordered) - 1) // 2]]


def _l0(sae: SAE, ctx: EvalContext) -> float:
    """Sum of active latents over a sample."""
    return sum((sae.encode(p.to(device_of(sae))) != 0).sum().item() for p in ctx.sample(64).split(256))


def _identity(name: str, *of: str) -> str:
    """Of a baseline by how it is made, not by the numbers that come out: machines differ in their last bits."""
    package, _ = registry.owner("baselines", name)
    return digest([package, name, registry.get("baselines", name).version, *of])


def _made(
    name: str,
    baseline: Baseline,
    build: Callable[[], SAE],
    identity: str,
    ctx: EvalContext,
    say: Callable[[str], None],
) -> list[Subject]:
    """The subject that `build` gives; none where it does not apply, one that fails where it breaks."""
    try:
        bring = build if baseline.make is None else _held(build())  # made ones may have been trained
        subject = _known(name, baseline.kind, lambda: _placed(bring(), ctx), ctx, identity=identity)
    except NotApplicable as reason:
        say(f"{name} is left out: {reason}")
        return []
    except SaebenchError as error:
        return [dataclasses.replace(_broken(name, str(error)), kind=baseline.kind)]
    return [subject]
