"""The identity of an SAE: a digest that tells it from every other one, and is the same whenever it is asked for."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor

from saebench_lite.saes.contents import Contents, summed
from saebench_lite.saes.protocol import SAE, HasFingerprint, dense, device_of, is_transcoder, reconstruct

NORMS = (1.0, 10.0, 100.0, 1000.0)
"Of the rows that an SAE is tried on: activations of models lie between."
GROUPS = 8
"Codes that between them have every latent once; as many rows are tried."


@torch.no_grad()
def fingerprint(sae: SAE) -> str:
    """A SHA-256 that changes when the SAE's behaviour changes.

    An SAE may bring its own `fingerprint()`. Any other is known by its tensors, plain attributes and code (`contents`),
    but for what a call changes, and by what it does to rows of several norms and to codes that touch every latent,
    coarsely enough that the last bits of one machine do not matter.
    """
    if (known := _known(sae)) is not None:
        return known
    contents = Contents(without=("meta", "name"), known=_known)
    _outputs(sae, seed=1)  # fills what the first call keeps
    before = contents.read(sae)
    outputs = _outputs(sae, seed=0)
    after = contents.read(sae)
    moved = tuple(path for path, value in before.items() if after.get(path) != value)
    lasting = {path: value for path, value in before.items() if not _within(path, moved)}
    return summed(lasting | {"sae": f"{sae.d_in} {sae.d_sae} {is_transcoder(sae)} {outputs}"})


def _within(path: str, moved: tuple[str, ...]) -> bool:
    return any(path == m or (path.startswith(m) and path[len(m)] in ".[:/>(") for m in moved if m)


def _known(thing: object) -> str | None:
    """What an object says of itself, unless a class made from its own changes more than that can tell."""
    if not isinstance(thing, HasFingerprint) or isinstance(thing, type):
        return None
    made_from = type(thing).__mro__
    tells = next((i for i, kind in enumerate(made_from) if "fingerprint" in vars(kind)), 0)
    package = __name__.partition(".")[0]
    ours = all(kind.__module__.partition(".")[0] == package for kind in made_from[: tells + 1])
    return str(thing.fingerprint()) if tells == 0 or ours else None


def _outputs(sae: SAE, seed: int) -> str:
    """What an SAE gives for fixed rows and codes: counts, norms, and coordinates along random directions."""
    generator, device = torch.Generator().manual_seed(seed), device_of(sae)
    x = torch.randn(GROUPS, int(sae.d_in), generator=generator)
    x *= (torch.tensor(NORMS).repeat(2) / x.norm(dim=1))[:, None]
    f = sae.encode(x.to(device))
    told = [(dense(f) != 0).sum(1).tolist(), _coarse(f), _coarse(reconstruct(sae, x.to(device), f))]
    codes = torch.zeros(GROUPS, int(sae.d_sae))
    latents = torch.arange(codes.shape[1])
    codes[latents % GROUPS, latents] = 0.5 + torch.rand(codes.shape[1], generator=generator)
    codes = codes.to(f.device, f.dtype)
    with suppress(Exception):  # foreign code, that may take no codes but its own
        told.append(
            _coarse(reconstruct(sae, x[:GROUPS].to(device), codes if f.layout == torch.strided else codes.to_sparse()))
        )
    return repr(told)


def _coarse(out: Tensor) -> list[list[float]]:
    """Rows [n, d] as (logarithm of the norm, four coordinates) each, all of the order of one, to two digits."""
    out = dense(out).cpu()
    directions = torch.randn(out.shape[1], 4, generator=torch.Generator().manual_seed(out.shape[1]))
    norm = out.norm(dim=1, keepdim=True).clamp(min=1e-12)
    rounded = torch.cat([norm.log(), (out / norm) @ directions], 1).mul(100).round()
    return (rounded + 0.0).tolist()  # no negative zero
