"""What a run scores: SAEs from specs or live objects, baselines, and controls made out of the SAEs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

import torch

from saebench_lite import registry
from saebench_lite.activations.store import NotFinite
from saebench_lite.api import registered
from saebench_lite.api.baseline import (
    Baseline,
    ClassifiesTexts,
    ClassifiesTokens,
    DerivesSAE,
    FitsDirection,
    MakesSAE,
    ReadsTexts,
    TrainsThroughModel,
)
from saebench_lite.api.context import EvalContext
from saebench_lite.api.subject import (
    BrokenSubject,
    ClassifierSubject,
    Kind,
    ModelProbeSubject,
    ProbeSubject,
    StoredSAESubject,
    Subject,
    TextSubject,
    TokenClassifierSubject,
    UntrainedSubject,
)
from saebench_lite.errors import NotApplicable, SaebenchError, contained, reason
from saebench_lite.files import digest
from saebench_lite.progress import logger
from saebench_lite.records.selection import UNREADABLE
from saebench_lite.runs.named_saes import sources_of
from saebench_lite.saes.adapt import adapted
from saebench_lite.saes.conformance import conforming
from saebench_lite.saes.contents import digest_of
from saebench_lite.saes.held import HeldSAE
from saebench_lite.saes.identity import fingerprint
from saebench_lite.saes.protocol import SAE, device_of, meta_of, moved_to

MAKING_SEED = 42
"Seed from which dictionary baselines and controls are made: the same ones in every run."
SAME_SPARSITY = 0.1
"Relative difference in L0 up to which SAEs of one width share a random control."
SMALL = 1 << 22
"Bytes of encoder and decoder up to which a control stays in memory once it is made, for it is made to be known first."
Refused = Callable[[str, Mapping[str, object]], str | None]


def subjects_of(
    saes: Mapping[str, SAE] | Sequence[str],
    baselines: Sequence[str] | None,
    control_of: Sequence[str] | None,
    ctx: EvalContext,
    refused: Refused = lambda name, meta: None,
    *,
    train: bool = True,
    told: Collection[str] = (),
) -> list[Subject]:
    """All subjects of a run: each SAE with the controls made out of it after it, then the baselines.

    Args:
        saes: name -> live object, or specs.
        baselines: names; by default those that the site allows and that train nothing.
        control_of: the SAEs that controls are made of, or "all"; by default the one with the median L0, and random
            ones one for all SAEs of a width and, within `SAME_SPARSITY`, an L0.
        ctx: the site.
        refused: (name, metadata) of an SAE -> why it does not belong here, or None.
        train: whether controls that have to be trained are; otherwise each is an `UntrainedSubject`.
        told: names of SAEs whose failure the user knows of already.

    An SAE, baseline or control that raises is a `BrokenSubject`; a warning tells of it and of what is left out.

    Raises:
        SaebenchError: A name that is not registered, or that two subjects share.
    """
    named = _default_baselines(ctx) if baselines is None else {n: registered.baseline(n) for n in baselines}
    setting_up = _SettingUp(ctx, refused, train=train, told=told)
    derived = {n: b.method for n, b in named.items() if isinstance(b.method, DerivesSAE)}
    if derived:
        try:
            setting_up.sample = ctx.sample(64)
        except NotFinite as error:  # each task says so in its records
            logger.warning(str(error))
    scored = [setting_up.sae(name, load) for name, load in sources_of(saes)]
    parents = {n: _parents(scored, control_of, setting_up.l0, random=named[n].random) for n in derived}
    subjects: list[Subject] = []
    for subject in scored:
        subjects.append(subject)
        if isinstance(subject, StoredSAESubject):
            ways = [(n, way) for n, way in derived.items() if subject.name in parents[n]]
            subjects += [c for n, way in ways for c in setting_up.control(n, named[n], way, subject)]
    subjects += [subject for name, baseline in named.items() for subject in setting_up.baseline(name, baseline)]
    names = [s.name for s in subjects]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise SaebenchError(f"two subjects are called {twice[0]!r}; name one of them: --sae other_name=spec")
    return subjects


def _default_baselines(ctx: EvalContext) -> dict[str, Baseline]:
    """Those a run includes unasked; one that is broken is left out with a sentence."""
    chosen = {}
    for name in registry.names("baselines"):
        try:
            baseline = registered.baseline(name)
        except SaebenchError as error:
            logger.warning(f"{error}; it is left out")
            continue
        if baseline.default and (ctx.lm.planted or not baseline.requires_ground_truth):
            chosen[name] = baseline
    return chosen


def _kept_if_small(build: Callable[[], SAE]) -> Callable[[], SAE]:
    """`build`, which is not called again where what it made takes no more than `SMALL`."""
    made: list[SAE] = []

    def built() -> SAE:
        if made:
            return made[0]
        sae = build()
        if 2 * 4 * sae.d_sae * sae.d_in <= SMALL:
            made.append(sae)
        return sae

    return built


class _LastSAE:
    """Keeps the SAE asked for last, so that an SAE and its controls, scored one after another, are read once.

    It is let go before another one is read: no more than one is in memory.
    """

    def __init__(self) -> None:
        self._name: str | None = None
        self._sae: SAE | None = None

    def get(self, name: str, load: Callable[[], SAE]) -> SAE:
        """The SAE `name`, by `load` unless it is the last one."""
        if self._sae is None or self._name != name:
            self._name = self._sae = None
            self._sae, self._name = load(), name
        return self._sae


@dataclass
class _SettingUp:
    """Makes subjects of what is read or built; whatever raises on the way becomes a `BrokenSubject`."""

    ctx: EvalContext
    refused: Refused
    sample: torch.Tensor | None = None
    "Activations [tokens, d] to measure L0 on, where that is needed."
    l0: dict[str, float] = field(default_factory=dict)
    "Mean number of active latents over the sample, by SAE."
    last: _LastSAE = field(default_factory=_LastSAE)
    train: bool = True
    told: Collection[str] = ()

    def sae(self, name: str, read: Callable[[], SAE]) -> Subject:
        """The subject of an SAE, which is read once here to know it and again when it is scored."""
        try:
            with contained():
                subject = self._known(name, "sae", lambda: self.last.get(name, lambda: self._placed(read())))
                if (why := self.refused(name, subject.meta)) is not None:
                    raise SaebenchError(why)
                if self.sample is not None:
                    self.l0[name] = subject.meta["sample_l0"] = _l0(HeldSAE(subject.load(), name), self.sample)
        except Exception as error:  # noqa: BLE001  (an SAE is foreign code)
            return self._broken(name, "sae", error)
        return subject

    def control(self, name: str, baseline: Baseline, way: DerivesSAE, of: StoredSAESubject) -> list[Subject]:
        """The control `name of SAE`; nothing where it does not apply.

        Args:
            name: of the baseline that makes the control.
            baseline: that baseline.
            way: how it derives an SAE.
            of: the SAE it is made out of.
        """
        identity = _identity(name, baseline, of.fingerprint)
        build = _kept_if_small(lambda: self._placed(way.derive(of.load(), self.ctx, MAKING_SEED)))
        return self._made(f"{name} of {of.name}", baseline, build, identity)

    def baseline(self, name: str, baseline: Baseline) -> list[Subject]:
        """The subject of a baseline that needs no SAE; nothing for the others and where it does not apply."""
        identity, kind = _identity(name, baseline), baseline.kind
        match baseline.method:
            case FitsDirection(probe):
                return [ProbeSubject(name=name, kind=kind, fingerprint=identity, probe=probe)]
            case ClassifiesTexts(classify):
                return [ClassifierSubject(name=name, kind=kind, fingerprint=identity, classify=classify)]
            case ClassifiesTokens(classify):
                return [TokenClassifierSubject(name=name, kind=kind, fingerprint=identity, classify=classify)]
            case ReadsTexts(score):
                return [TextSubject(name=name, kind=kind, fingerprint=identity, score=score)]
            case TrainsThroughModel(fit):
                return [ModelProbeSubject(name=name, kind=kind, fingerprint=identity, fit=fit)]
            case MakesSAE(make):
                if baseline.trains and not self.train:
                    return [UntrainedSubject(name=name, kind=kind, fingerprint=identity)]
                once = functools.cache(lambda: make(self.ctx, MAKING_SEED))  # it may have been trained
                return self._made(name, baseline, lambda: self._placed(once()), identity)
            case DerivesSAE():
                return []
            case other:
                assert_never(other)

    def _made(self, name: str, baseline: Baseline, build: Callable[[], SAE], identity: str) -> list[Subject]:
        try:
            with contained():
                return [self._known(name, baseline.kind, build, identity)]
        except NotApplicable as why:
            logger.warning(f"{name} is left out: {why}")
            return []
        except Exception as error:  # noqa: BLE001  (a baseline may come from anywhere)
            return [self._broken(name, baseline.kind, error)]

    @torch.no_grad()
    def _known(self, name: str, kind: Kind, load: Callable[[], SAE], identity: str | None = None) -> StoredSAESubject:
        """A subject that loads its SAE again when it is scored; its fingerprint is the SAE's, or `identity`.

        What is no SAE tells its L0; that of an SAE is measured once it is known to belong here.
        """
        sae = conforming(load(), d_in=self.ctx.d_in)
        meta = meta_of(sae) | {"d_sae": sae.d_sae}
        if kind != "sae" and self.sample is not None and "matched_l0" not in meta:
            meta["sample_l0"] = _l0(HeldSAE(sae, name), self.sample)
        return StoredSAESubject(name=name, kind=kind, fingerprint=identity or fingerprint(sae), meta=meta, load=load)

    def _placed(self, sae: SAE) -> SAE:
        return adapted(moved_to(sae, self.ctx.device))

    def _broken(self, name: str, kind: Kind, error: Exception) -> BrokenSubject:
        if name not in self.told:
            logger.warning(f"{name}: {reason(error)}")
        return BrokenSubject(name=name, kind=kind, fingerprint=UNREADABLE, reason=reason(error))


def _parents(
    scored: Sequence[Subject], control_of: Sequence[str] | None, l0: Mapping[str, float], *, random: bool
) -> list[str]:
    """Names of the SAEs that a control is made of.

    Args:
        scored: the SAEs.
        control_of: those that the user names, "all", or None.
        l0: mean number of active latents by SAE.
        random: whether the control is a random dictionary of an SAE's width and L0.
    """
    usable = [s.name for s in scored if s.form is not None]
    if control_of is None:
        parents = _one_a_size({s.name: s.meta.get("d_sae") for s in scored}, l0) if random else _median(l0)
        return parents or usable[:1]
    return [name for name in usable if name in control_of or "all" in control_of]


def _median(l0: Mapping[str, float]) -> list[str]:
    """The SAE with the median L0 (the lower one of two), whatever order they came in; none where none was measured."""
    ordered = sorted(l0, key=lambda n: (l0[n], n))
    return ordered[(len(ordered) - 1) // 2 :][:1]


def _one_a_size(width: Mapping[str, object], l0: Mapping[str, float]) -> list[str]:
    """The SAE of median L0 of each group of one width whose largest L0 is within `SAME_SPARSITY` of its smallest."""
    groups: list[list[str]] = []
    for name in sorted(l0, key=lambda n: (str(width[n]), l0[n], n)):
        first = groups[-1][0] if groups else None
        if first is not None and width[first] == width[name] and l0[name] <= l0[first] * (1 + SAME_SPARSITY):
            groups[-1].append(name)
        else:
            groups.append([name])
    return [name for group in groups for name in _median({n: l0[n] for n in group})]


@torch.no_grad()
def _l0(sae: SAE, sample: torch.Tensor) -> float:
    """Mean number of active latents over a sample [tokens, d]."""
    return sum((sae.encode(p.to(device_of(sae))) != 0).sum().item() for p in sample.split(256)) / len(sample)


def _identity(name: str, baseline: Baseline, *of: str) -> str:
    """Of a baseline by how it is made, not by the numbers that come out: machines differ in their last bits.

    One from outside is known by its code too, which its author edits more often than its version.
    """
    package = registry.owner("baselines", name)[0]
    code = () if package == registry.OURS else (digest_of(*vars(baseline.method).values()),)
    return digest([package, name, baseline.version, *of, *code])
