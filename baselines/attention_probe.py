"""Attention probe: reads all tokens of a text and learns which of them to listen to.

Token t with activation x_t scores x_t . a; the softmax of the scores over the text weighs the tokens' votes x_t . w,
and their sum plus a bias is the text's logit. Columns are standardised by the training tokens; full-batch Adam (rate
0.01, 200 steps) with a decoupled weight decay of 1, 0.1 or 0.01 chosen by validation AUROC.
Source: Kantamneni et al., arXiv:2502.16681, appendix on the attention probe. They keep the step with the best
validation AUROC; here the number of steps is fixed and the decay is validated.
"""

import torch
from torch import Tensor

from saebench_lite.acts import Acts
from saebench_lite.readout import choose
from saebench_lite.stats import derive_seed
from saebench_lite.task import Baseline

STEPS = 200
RATE = 0.01
DECAYS = (1.0, 0.1, 0.01)


def logits(x: Tensor, owner: Tensor, texts: int, attend: Tensor, vote: Tensor, bias: Tensor) -> Tensor:
    """Logits [p, texts] of p probes. x [t, d], owner [t]: each token's text; attend, vote [d, p], bias [p]"""
    score = x @ attend
    index = owner[:, None].expand_as(score)
    highest = score.detach().new_zeros(texts, score.shape[1])
    highest = highest.scatter_reduce(0, index, score.detach(), "amax", include_self=False)
    weight = (score - highest[owner]).exp()
    total = torch.zeros_like(highest).index_add(0, owner, weight)
    said = torch.zeros_like(highest).index_add(0, owner, weight * (x @ vote))
    return (said / total + bias).T


def train(some: Acts, y: Tensor, judged: Acts, decays: tuple[float, ...]) -> Tensor:
    """Logits [decays, m] of probes trained side by side. some: n texts, y [n], judged: m texts"""
    x, owner = tokens(some, y.device)
    mean, sd = x.mean(0), x.std(0, correction=0).clamp(min=1e-6)
    x = (x - mean) / sd
    generator = torch.Generator().manual_seed(derive_seed("attention_probe", some.d))
    start = 1e-3 * torch.randn(2, some.d, 1, generator=generator)
    parts = [w.expand(-1, len(decays)).clone().to(x).requires_grad_() for w in start]
    bias = x.new_zeros(len(decays), requires_grad=True)
    decay = torch.tensor(decays, device=x.device)
    target = y.to(x).expand(len(decays), -1)
    optimiser = torch.optim.Adam([*parts, bias], lr=RATE)
    for _ in range(STEPS):
        got = logits(x, owner, len(some), parts[0], parts[1], bias)
        optimiser.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(got, target, reduction="none").mean(-1).sum().backward()
        optimiser.step()
        with torch.no_grad():
            for weight in parts:
                weight.mul_(1 - RATE * decay)
    with torch.no_grad():
        x, owner = tokens(judged, y.device)
        return logits((x - mean) / sd, owner, len(judged), parts[0], parts[1], bias)


def tokens(acts: Acts, device: torch.device) -> tuple[Tensor, Tensor]:
    """Activations [t, d] float32 and each one's text [t]."""
    owner = torch.repeat_interleave(torch.arange(len(acts)), acts.offsets.diff())
    return acts.x.to(device, torch.float32), owner.to(device)


def classify_tokens(some: Acts, y: Tensor, judged: Acts) -> Tensor:
    """Logits of the probe with the best decay. some: n texts, y [n], judged: m texts -> [m]"""
    best = choose(y, len(DECAYS), lambda fit, held: train(some.take(fit.cpu()), y[fit], some.take(held.cpu()), DECAYS))
    return train(some, y, judged, (DECAYS[best],))[0]


BASELINE = Baseline(
    name="attention_probe",
    claim="a probe that attends to the tokens of a text",
    kind="baseline",
    classify_tokens=classify_tokens,
    default=False,
)
