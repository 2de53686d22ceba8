"""The generator: features fire, have magnitudes, obey their trees, and add up to an activation."""

from __future__ import annotations

import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.stats.seeds import derive_seed
from saebench_lite.worlds import spec as specs
from saebench_lite.worlds.forest import apply_rules, drawing_rates, plant
from saebench_lite.worlds.spec import WorldSpec


class World:
    """A world on a device. Everything is drawn from the spec's seed; samples from the seed given to `sample`.

    `directions` [N, d] unit rows, `bias` [d], `rates` [N] at which features are drawn, `mean`, `sd` [N] magnitudes.
    """

    def __init__(self, spec: WorldSpec, device: str = "cpu") -> None:
        self.spec, self.device = spec, device
        self.forest = plant(spec)
        directions = torch.randn(spec.features, spec.d, generator=self._generator("directions"))
        directions = _spread(directions / directions.norm(dim=1, keepdim=True), spec.orthogonalise, device)
        self.directions = directions.to(device)
        bias = torch.randn(spec.d, generator=self._generator("bias"))
        self.bias = (spec.bias_norm * bias / bias.norm()).to(device)
        zipf = torch.arange(1, spec.features + 1, dtype=torch.float64) ** -spec.zipf
        base = (zipf - zipf[-1]) / (zipf[0] - zipf[-1]) * (spec.p_max - spec.p_min) + spec.p_min
        rates = drawing_rates(base, self.forest, spec.exclusive) if spec.compensate else base
        self.rates = rates.float().to(device)
        self.mean = torch.linspace(spec.mean_first, spec.mean_last, spec.features, device=device)
        sd = spec.sd_mean + spec.sd_sd * torch.randn(spec.features, generator=self._generator("sd"))
        self.sd = sd.abs().to(device)
        self._threshold = _threshold(rates).float().to(device)
        self._factors, self._own = _loadings(spec, self._generator("correlation"))
        self._factors, self._own = self._factors.to(device), self._own.to(device)

    @classmethod
    def named(cls, name: str) -> World:
        """The world called `name` (see worlds.spec.parse) on the device that draws its samples.

        SaebenchError for an unknown world, and for a device that is not there.
        """
        spec = specs.parse(name)
        if spec.drawn_on == "cuda" and not torch.cuda.is_available():
            raise SaebenchError(f"world {name!r} is drawn on cuda, which is not here; leave drawn_on out")
        return cls(spec, spec.drawn_on)

    def _generator(self, what: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed("world", self.spec.seed, what))

    def features(self, n: int, *seed: object, tokens: int = 1) -> Tensor:
        """True feature activations [n, N] >= 0 of n samples; `seed` names the draw.

        With `tokens` above 1 they are texts of that many tokens one after another, and the latent Gaussians of a text's
        tokens have a share `persistence` of their variance in common: what fires once in a text tends to fire again.
        The distribution of a single token does not depend on either.
        """
        g = torch.Generator(self.device).manual_seed(derive_seed("sample", self.spec.seed, *seed))

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g, device=self.device)

        def persistent(width: int) -> Tensor:
            own, share = normal(n, width), self.spec.persistence
            if tokens == 1 or not share:
                return own
            text = normal(n // tokens, 1, width).expand(-1, tokens, -1).reshape(n, width)
            return own.mul_((1 - share) ** 0.5).add_(text, alpha=share**0.5)

        latent = persistent(self.spec.features)
        if self.spec.rank:
            common = persistent(self.spec.rank)
            latent = torch.addmm(latent.mul_(self._own), common, self._factors.T)
        row, feature = (latent > self._threshold).nonzero(as_tuple=True)
        size = normal(len(row))
        size = (self.mean[feature] + self.sd[feature] * size).relu_()
        a = latent.zero_()
        a[row, feature] = size
        return apply_rules(a, self.forest, self.mean, self.spec, g)

    def activations(self, a: Tensor, *seed: object) -> Tensor:
        """x [n, d] = a V + bias + noise; `seed` names the noise."""
        x = a @ self.directions + self.bias
        if self.spec.noise:
            g = torch.Generator(self.device).manual_seed(derive_seed("noise", self.spec.seed, *seed))
            x += self.spec.noise * torch.randn(x.shape, generator=g, device=self.device)
        return x

    def sample(self, n: int, *seed: object) -> tuple[Tensor, Tensor]:
        """Activations [n, d] and the true features [n, N] they are made of."""
        a = self.features(n, *seed)
        return self.activations(a, *seed), a


def _threshold(rates: Tensor) -> Tensor:
    """Standard normal quantile above which a latent Gaussian fires with the given rate. float64"""
    return 2**0.5 * torch.erfinv((1 - 2 * rates.double()).clamp(-1, 1))


def _loadings(spec: WorldSpec, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Factor loadings [N, r] and the share [N] each feature keeps to itself, so that latent variances are 1."""
    loadings = spec.correlation * torch.randn(spec.features, spec.rank, generator=g)
    norm = loadings.norm(dim=1, keepdim=True)
    loadings = torch.where(norm > 0.99**0.5, loadings * (0.99**0.5 / norm.clamp(min=1e-12)), loadings)
    return loadings, (1 - loadings.square().sum(1)).sqrt()


def _spread(v: Tensor, steps: int, device: str) -> Tensor:
    """Adam on sum of squared cosines + N * sum (|v|^2 - 1)^2, a block of rows at a time; unit rows at the end."""
    if not steps:
        return v
    v = v.to(device).requires_grad_()
    optimizer = torch.optim.Adam([v], lr=3e-4)
    n = len(v)
    for _ in range(steps):
        optimizer.zero_grad()
        for low in range(0, n, 1024):
            rows = v[low : low + 1024]
            square = (rows @ v.T).square()
            own = square[torch.arange(len(rows)), torch.arange(low, low + len(rows))]
            (square.sum() - own.sum() + n * (rows.square().sum(1) - 1).square().sum()).backward()
        optimizer.step()
    v = v.detach()
    return v / v.norm(dim=1, keepdim=True)
