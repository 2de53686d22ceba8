"""Low-rank changes of the weights behind a hook point (LoRA, Hu et al., arXiv:2106.09685), without another package.

A linear map W of a block that comes after the hook becomes W + A B, with A [in, r] random and B [r, out] zero at first.
The model itself is left as it is: hooks add the change while `attached`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from saebench_lite.errors import SaebenchError
from saebench_lite.models.hookpoints import parse_hook
from saebench_lite.models.language_model import LanguageModel


def _sizes(module: nn.Module) -> tuple[int, int] | None:
    """(in, out) of a linear map; None for other modules. GPT-2's Conv1D holds its weight [in, out]."""
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if type(module).__name__ == "Conv1D" and isinstance(weight, Tensor):
        return weight.shape[0], weight.shape[1]
    return None


class LowRank:
    """The change of each linear map of the blocks behind a hook, float32."""

    def __init__(self, lm: LanguageModel, hook: str, rank: int, seed: int = 0) -> None:
        """Changes that are zero at first.

        Args:
            lm: the model.
            hook: what comes after it is changed; for an output of attention or MLP, from the next block on.
            rank: of each change.
            seed: of A.

        Raises:
            SaebenchError: a hook that is no `blocks.N`, or behind which no linear map lies.
        """
        point = parse_hook(lm.hook_name(hook))
        first = point.layer + (point.kind != "resid_pre")
        self.lm, self.rank = lm, rank
        self.maps: dict[str, nn.Module] = {}
        if point.kind != "module":
            for number, block in list(enumerate(lm.blocks))[first:]:
                linear = {f"{number}.{n}": m for n, m in block.named_modules() if _sizes(m) is not None}
                self.maps |= linear
        if not self.maps:
            raise SaebenchError(f"no linear map of a block lies behind {hook}; LoRA needs an earlier hook of a block")
        generator = torch.Generator().manual_seed(seed)
        self.a: dict[str, Tensor] = {}
        self.b: dict[str, Tensor] = {}
        for name, module in self.maps.items():
            size = _sizes(module)
            assert size is not None
            a = torch.randn(size[0], rank, generator=generator) / size[0] ** 0.5
            self.a[name] = a.to(lm.device).requires_grad_()
            self.b[name] = torch.zeros(rank, size[1], device=lm.device).requires_grad_()

    @property
    def trained(self) -> list[Tensor]:
        """All A and B."""
        return [*self.a.values(), *self.b.values()]

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Within it the model computes with the changes."""
        handles = []
        for name, module in self.maps.items():
            a, b = self.a[name], self.b[name]

            def add(_: nn.Module, args: tuple[Tensor, ...], out: Tensor, a: Tensor = a, b: Tensor = b) -> Tensor:
                return out + (args[0].float() @ a @ b).to(out.dtype)

            handles.append(module.register_forward_hook(add))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @torch.no_grad()
    def save(self, folder: Path) -> Path:
        """Writes the changed model and its tokenizer to a folder that `LanguageModel.load` takes; returns it.

        The model in memory keeps its weights.
        """
        before = {}
        for name, module in self.maps.items():
            weight = module.weight
            assert isinstance(weight, Tensor)
            change = self.a[name] @ self.b[name]
            before[name] = weight.clone()
            weight += (change.T if isinstance(module, nn.Linear) else change).to(weight.dtype)
        try:
            self.lm.net.save_pretrained(folder)  # pyright: ignore[reportCallIssue]  (a transformers model)
            self.lm.tokenizer.save_pretrained(folder)
        finally:
            for name, weight in before.items():
                self.maps[name].weight.copy_(weight)  # pyright: ignore[reportCallIssue]  (a parameter)
        return folder
