"""Where models and SAEs run."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

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


def moved(x: Tensor, device: torch.device | str) -> Tensor:
    """x on a device, in its own type; to a GPU it goes out of pinned memory, and is not waited for."""
    if torch.device(device).type == "cuda" and not x.is_cuda:
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


def attention_without_plans(device: torch.device) -> AbstractContextManager[object]:
    """Context in which attention on a GPU does not use cuDNN, which makes a plan for each new shape of a batch.

    Texts come in as many shapes as lengths, and a plan takes longer than the batch it is made for.
    """
    if device.type != "cuda":
        return nullcontext()
    return sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])
