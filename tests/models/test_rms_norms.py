"""Fused norms round as the modules that they stand for."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.gemma4.modeling_gemma4 import Gemma4RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.nemotron_h.modeling_nemotron_h import NemotronHRMSNormGated
from transformers.models.olmo2.modeling_olmo2 import Olmo2RMSNorm

from saebench_lite.models import language_model, rms_norms
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.models.rms_norms import fuse_norms, with_fused_norms
from saebench_lite.models.tokens import TokenBatch
from tests.helpers.tiny_models import CONFIGS, tokenizer

D = 512
MEANS = {LlamaRMSNorm: 1.0, Olmo2RMSNorm: 1.0, Gemma4RMSNorm: 1.0, Gemma2RMSNorm: 0.0}
HALF = (torch.bfloat16, torch.float16)


def norm_of(kind: type, dtype: torch.dtype) -> nn.Module:
    """A norm of a class with random weights."""
    torch.manual_seed(0)
    module = kind(D, eps=1e-4)
    nn.init.normal_(module.weight, mean=MEANS.get(kind, 1.0), std=0.3)
    return module.to(dtype)


def by_hand(module: Any, x: Tensor) -> Tensor:
    """In float64, rounded where the class rounds."""
    wide, weight = x.double(), module.weight.double()
    epsilon = module.variance_epsilon if hasattr(module, "variance_epsilon") else module.eps
    unit = wide / (wide.square().mean(-1, keepdim=True) + epsilon).sqrt()
    if isinstance(module, LlamaRMSNorm):
        return (weight * unit.to(x.dtype).double()).to(x.dtype)
    return (unit * (weight + (1.0 if isinstance(module, Gemma2RMSNorm) else 0.0))).to(x.dtype)


@pytest.mark.parametrize("dtype", HALF, ids=["bf16", "f16"])
@pytest.mark.parametrize("kind", list(MEANS))
def test_a_fused_norm_gives_the_numbers_of_its_module(kind, dtype):
    plain, net = norm_of(kind, dtype), nn.Sequential(norm_of(kind, dtype))
    assert fuse_norms(net) == ["0"]
    x = torch.cat([torch.randn(64, D) * 10.0**e for e in (-4, -2, 0, 2, 4)]).to(dtype)
    got = net(x)
    assert got.dtype == dtype
    for want in (plain(x), by_hand(plain, x)):
        torch.testing.assert_close(got, want, rtol=2 * torch.finfo(dtype).eps, atol=torch.finfo(dtype).tiny)
        assert (got == want).float().mean() > 0.99


@pytest.mark.parametrize("kind", list(MEANS))
def test_gradients_flow_through_a_fused_norm(kind):
    plain, net = norm_of(kind, torch.bfloat16), nn.Sequential(norm_of(kind, torch.bfloat16))
    fuse_norms(net)
    grads = []
    for module in (plain, net):
        x = torch.linspace(-2, 3, 4 * D).view(4, D).bfloat16().requires_grad_()
        module(x).float().square().sum().backward()
        grads.append(x.grad)
    torch.testing.assert_close(grads[1], grads[0], rtol=0.05, atol=0.05)


class ShiftedRMSNorm(LlamaRMSNorm):
    """Not the norm that its name says."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        return super().forward(hidden_states) + 0.1


class OtherEpsilonRMSNorm(LlamaRMSNorm):
    """Of another epsilon than it tells, which numbers about 1 do not show."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        return (self.weight * rms_norm(hidden_states, (D,), None, 1e-5)).to(hidden_states.dtype)


class OutlierRMSNorm(LlamaRMSNorm):
    """The norm but for one of its numbers."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        return super().forward(hidden_states) + (torch.arange(D) == 7).to(hidden_states)


class FlatRMSNorm(LlamaRMSNorm):
    """Refuses what it does not know."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        raise ValueError("two dimensions, please")


class OneWeightRMSNorm(LlamaRMSNorm):
    def __init__(self) -> None:
        super().__init__(D)
        self.weight = nn.Parameter(torch.tensor(1.0))


class LlamaNorm(LlamaRMSNorm):
    """Not called an RMSNorm, and so not tried."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        pytest.fail("it was tried")


class ResidualRMSNorm(LlamaRMSNorm):
    """Takes more than an activation."""

    def forward(self, hidden_states: Tensor, residual: Tensor | None = None) -> Tensor:
        return super().forward(hidden_states if residual is None else hidden_states + residual)


class WeightlessRMSNorm(nn.Module):
    eps = 1e-6

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize(
    "module",
    [
        ShiftedRMSNorm(D),
        OtherEpsilonRMSNorm(D),
        OutlierRMSNorm(D),
        FlatRMSNorm(D),
        OneWeightRMSNorm(),
        LlamaNorm(D),
        ResidualRMSNorm(D),
        WeightlessRMSNorm(),
        NemotronHRMSNormGated(D, group_size=D),
        nn.LayerNorm(D),
        nn.Linear(D, D),
    ],
    ids=lambda m: type(m).__name__,
)
def test_other_modules_are_left_alone(module):
    net = nn.Sequential(copy.deepcopy(module).bfloat16())
    assert fuse_norms(net) == []
    assert "forward" not in vars(net[0])


@pytest.mark.parametrize("kind", [LlamaRMSNorm, Olmo2RMSNorm])
def test_a_norm_of_another_type_than_the_model_is_left_alone(kind):
    """As those that a model keeps in float32, whose output is of the input's type."""
    net = nn.Sequential(nn.Linear(D, D).bfloat16(), kind(D))
    assert fuse_norms(net) == []


def test_a_forward_that_was_replaced_is_left_alone():
    net: Any = nn.Sequential(norm_of(LlamaRMSNorm, torch.bfloat16))
    own, seen = net[0].forward, list[Tensor]()

    def watched(x: Tensor) -> Tensor:
        seen.append(x)
        return own(x)

    net[0].forward = watched
    assert fuse_norms(net) == []
    assert not seen
    net(torch.ones(1, D).bfloat16())
    assert len(seen) == 1


def test_a_copy_reads_its_own_weight():
    net = nn.Sequential(norm_of(LlamaRMSNorm, torch.bfloat16))
    fuse_norms(net)
    other: Any = copy.deepcopy(net)
    with torch.no_grad():
        other[0].weight.zero_()
    x = torch.ones(1, D).bfloat16()
    assert not other(x).any()
    assert net(x).any()


def test_only_16_bit_models_on_a_gpu_are_changed(monkeypatch):
    seen = list[torch.dtype]()
    monkeypatch.setattr(rms_norms, "fuse_norms", lambda net: seen.append(net.weight.dtype))
    for device, dtype in (("cpu", torch.bfloat16), ("meta", torch.float32), ("meta", torch.float64)):
        with_fused_norms(nn.Linear(2, 2, device=device, dtype=dtype))
    assert not seen
    for dtype in HALF:
        net = nn.Linear(2, 2, device="meta", dtype=dtype)
        assert with_fused_norms(net) is net
    assert seen == list(HALF)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gemma3", "qwen3"])
def test_a_model_with_fused_norms_gives_its_activations(name, monkeypatch):
    torch.manual_seed(0)
    from transformers import AutoModelForCausalLM

    net = AutoModelForCausalLM.from_config(CONFIGS[name]())
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    net = net.bfloat16()
    plain = LanguageModel(copy.deepcopy(net), tokenizer(), name=name)
    fused = list[str]()

    def fuse(net: nn.Module) -> nn.Module:
        fused.extend(fuse_norms(net))
        return net

    monkeypatch.setattr(language_model, "with_fused_norms", fuse)
    quick = LanguageModel(net, tokenizer(), name=name)
    norms = [n for n, m in net.named_modules() if type(m).__name__.endswith("RMSNorm")]
    assert fused == norms
    assert len(norms) >= 7
    ids = torch.tensor([[0, 5, 6, 7], [0, 9, 8, 7]])
    batch = TokenBatch(ids, torch.ones_like(ids).bool(), ids != 0)
    hooks = ["blocks.1.hook_attn_out", "blocks.1.hook_resid_post"]
    want, got = plain.collect(batch, hooks), quick.collect(batch, hooks)
    for hook in hooks:
        error = (got[hook].float() - want[hook].float()).norm() / want[hook].float().norm()
        assert error < 0.01
    assert quick.fingerprint() == plain.fingerprint()
