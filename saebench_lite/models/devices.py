"""Where models and SAEs run."""

from __future__ import annotations

import torch

from saebench_lite.errors import SaebenchError
from saebench_lite.names import AUTO_DEVICE


def resolved(device: str) -> str:
    """The device that a name means on this machine: `auto` is cuda where there is one, else cpu; others are kept.

    Apple's mps has no float64, in which sums and probes are computed: `auto` passes over it. SaebenchError for a device
    that torch does not know, that this machine does not have, or that has no float64.
    """
    if device == AUTO_DEVICE:
        return best()
    try:
        kind = torch.device(device)
    except RuntimeError as error:
        raise SaebenchError(f"device {device!r} is not known; use auto, cpu or cuda") from error
    if kind.type == "mps":
        raise SaebenchError(f"device {device!r} has no float64 numbers, in which scores are summed; use --device cpu")
    there = kind.type != "cuda" or (kind.index or 0) < torch.cuda.device_count()
    if not there or not (kind.type in ("cpu", "cuda") or _computes(kind)):
        raise SaebenchError(f"device {device!r} is not available on this machine; use --device cpu")
    return device


def _computes(device: torch.device) -> bool:
    """Whether numbers can be put on a device of a kind that torch knows: meta holds none, others are not built in."""
    try:
        torch.ones(1, device=device, dtype=torch.float64).item()
    except Exception:  # noqa: BLE001  (each backend that is not built in has its own)
        return False
    return True


def best() -> str:
    """cuda where torch finds such a device, else cpu."""
    return "cuda" if torch.cuda.is_available() and torch.cuda.device_count() else "cpu"


def described(device: torch.device) -> str:
    """A device with the name of its hardware where it is a GPU: "cpu", "cuda (NVIDIA H100)"."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
