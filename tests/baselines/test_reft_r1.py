"""ReFT-r1 on a made-up model in which one direction raises the words of the positive texts, and on pico."""

import torch
from torch import Tensor

from saebench_lite.baselines import reft_r1
from saebench_lite.data.types import Data
from saebench_lite.models.protocol import Prefix
from saebench_lite.models.token_rule import Positions
from saebench_lite.models.tokens import TokenBatch
from saebench_lite.runs import runner
from tests.conftest import HOOK

D, WORDS = 128, 20


class Planted:
    """Positive texts are words 0 to 9, negative ones 10 to 19; one direction tells them apart and raises the former."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(0)
        self.planted = torch.nn.functional.normalize(torch.randn(D, generator=g), dim=0)
        side = torch.where(torch.arange(WORDS) < 10, 1.0, -1.0)
        self.base = 0.05 * torch.randn(WORDS, D, generator=g) + 0.6 * side[:, None] * self.planted
        self.readout = 0.05 * torch.randn(D, WORDS, generator=g) + side * self.planted[:, None]

    def hook_width(self, hook: str) -> int:
        return D

    def positions(self, hook: str) -> Positions:
        return Positions()

    def batches(self, ids, *, max_tokens):
        table = torch.tensor(ids)
        assert table.numel() <= max_tokens
        yield list(range(len(ids))), TokenBatch(table, table >= 0, table >= 0)

    def prefix(self, batch: TokenBatch, hook: str) -> Prefix:
        return Prefix(self.base[batch.ids], None)

    def logits_with(self, batch, prefix, replacement: Tensor, hook: str, *, gradients: bool = False) -> Tensor:
        assert gradients == replacement.requires_grad
        return replacement @ self.readout


def texts(n: int = 96, length: int = 12) -> list[list[int]]:
    g = torch.Generator().manual_seed(1)
    rows = torch.randint(10, (n, length), generator=g)
    rows[n // 2 :] += 10
    return rows.tolist()


def test_finds_the_planted_direction():
    lm, y = Planted(), torch.arange(96) < 48
    found = reft_r1.train(lm, "h", texts(), y)  # type: ignore[arg-type]
    assert abs(float(found.norm()) - 1) < 1e-5
    assert found @ lm.planted > 0.7
    assert reft_r1.train(lm, "h", texts(), ~y) @ lm.planted < -0.7  # type: ignore[arg-type]
    assert torch.equal(found, reft_r1.train(lm, "h", texts(), y))  # type: ignore[arg-type]


def test_loss_matches_a_loop():
    lm, ids = Planted(), texts(4, 11)
    table = torch.tensor(ids)
    real = torch.ones_like(table, dtype=torch.bool)
    real[:, 0] = False
    real[1, 7:] = False
    y = torch.tensor([True, False, False, True])
    weight = torch.nn.functional.normalize(torch.randn(D, generator=torch.Generator().manual_seed(2)), dim=0)
    weight.requires_grad_()
    got = reft_r1.loss(lm, "h", TokenBatch(table, table >= 0, real), y, weight, 0.7)  # type: ignore[arg-type]
    entropy, others = [], []
    for row, mask, label in zip(table, real, y, strict=True):
        own = (lm.base[row] @ lm.readout).softmax(-1)
        h = lm.base[row].clone()
        fires = sorted((max(0.0, float(x @ weight.detach())) for x in h[mask]), reverse=True)
        others.append(sum(fires[8:]) / len(fires))
        h[mask] += sum(fires[:8]) / min(8, len(fires)) * weight
        said = (h @ lm.readout).log_softmax(-1)
        places = [t for t in range(len(row) - 1) if mask[t + 1]]
        entropy += [-said[t, row[t + 1]] if label else -(own[t] * said[t]).sum() for t in places]
    want = torch.stack(entropy).mean() + 0.7 * torch.tensor(others).mean()
    torch.testing.assert_close(got, want)


def test_beats_chance_on_bundled_concepts(pico, concepts):
    data = Data("some", concepts=tuple(c for c in concepts.concepts if c.name == "cooking"))
    (record,) = runner.run(
        [], model=pico, hook=HOOK, data=data, tasks=["concept_detection"], baselines=["reft_r1"], seeds=1
    )
    assert record.status == "ok"
    assert record.scores["auroc"].value > 0.6
