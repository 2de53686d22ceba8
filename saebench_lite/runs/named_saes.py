"""SAEs of a run by name, and how to get at each."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

from saebench_lite.errors import SaebenchError, reason
from saebench_lite.loading import open
from saebench_lite.loading import spec as spec_module
from saebench_lite.progress import logger
from saebench_lite.runs.sites import split_spec
from saebench_lite.saes.protocol import SAE


def sources_of(saes: Mapping[str, SAE] | Sequence[str]) -> list[tuple[str, Callable[[], SAE]]]:
    """Name of each SAE and how to get at it.

    An object named by a spec is made once and stays in memory, for making it again might give another one.
    """
    if isinstance(saes, Mapping):
        return [(name, lambda sae=sae: sae) for name, sae in saes.items()]
    return [_source(spec) for spec in saes]


def told_missing(specs: Sequence[str]) -> list[str]:
    """Names of SAEs of which it is known without reading them that nothing lies where they should; a warning tells why.

    specs: of SAEs, as a run has them.
    """
    found = []
    for text in specs:
        try:
            spec = spec_module.parse(split_spec(text).spec)
        except SaebenchError:
            continue
        try:
            open.check_there(spec)
        except SaebenchError as error:
            logger.warning(f"{spec.name}: {reason(error)}; the run goes on without it")
            found.append(spec.name)
    return found


def _source(text: str) -> tuple[str, Callable[[], SAE]]:
    try:
        spec = spec_module.parse(text)
    except SaebenchError as error:
        return text, lambda error=error: _raise(error)
    read = lambda: open.read(spec)  # noqa: E731
    return spec.name, functools.cache(read) if open.is_object(spec) else read


def _raise(error: SaebenchError) -> NoReturn:
    raise error


def check_control_of(control_of: Sequence[str] | None, shares: Iterable[Mapping[str, SAE] | Sequence[str]]) -> None:
    """SaebenchError for a name that controls are asked of and that no SAE of a run has.

    Args:
        control_of: names of SAEs, or "all".
        shares: the SAEs of each site.
    """
    names = dict.fromkeys(name for saes in shares for name, _ in sources_of(saes))
    if unknown := sorted(set(control_of or ()) - {*names, "all"}):
        why = f"which is not among the SAEs {', '.join(names)}" if names else "and the run has no SAE; leave it out"
        raise SaebenchError(f"controls are asked of {unknown[0]!r}, {why}")
