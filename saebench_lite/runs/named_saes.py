"""SAEs of a run by name, and how to get at each."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

from saebench_lite.errors import SaebenchError
from saebench_lite.loading import open
from saebench_lite.loading import spec as spec_module
from saebench_lite.saes.protocol import SAE


def sources_of(saes: Mapping[str, SAE] | Sequence[str]) -> list[tuple[str, Callable[[], SAE]]]:
    """Name of each SAE and how to get at it.

    An object named by a spec is made once and stays in memory, for making it again might give another one.
    """
    if isinstance(saes, Mapping):
        return [(name, lambda sae=sae: sae) for name, sae in saes.items()]
    return [_source(spec) for spec in saes]


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
