"""A world in the place of a language model: "sample 17" is a text of a few tokens whose activations are known.

The tasks then run on it as they run on any model. A token's next-token distribution is a fixed random linear readout
of its activation, and the tokens are drawn from it, so a splice has a cost in nats. To such a readout one direction is
as good as any other. With planted causes (`causes` of the spec) it reads which features are there instead: each cause
is seen along its true direction, as a step at half of its mean size, so that taking it away changes predictions and a
random change of the same size hardly does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

from saebench_lite.data.types import LongTexts
from saebench_lite.errors import SaebenchError
from saebench_lite.files import digest
from saebench_lite.models.branches import Branches
from saebench_lite.models.protocol import Prefix
from saebench_lite.models.token_rule import Positions
from saebench_lite.models.tokens import TokenBatch
from saebench_lite.names import WORLD, WORLD_HOOK
from saebench_lite.stats.seeds import derive_seed
from saebench_lite.worlds.world import World

BLOCK = 256
"Texts generated together."
COUNTED = 32
"Blocks over which firing is counted to tell frequent features from rare ones."
VOCABULARY = 64
STEP = 0.1
"Width of the step by which a cause is seen, as a share of its mean size."
SPREAD = 2.0
"Standard deviation of logits."
HOOK = WORLD_HOOK


def text(index: int) -> str:
    """The text that stands for sample `index`."""
    return f"sample {index}"


class WorldModel:
    """A world as a causal model with one hook point; implements `models.protocol.Model`.

    Sequences are [marker, one filler, targets...].

    Position 0 names the sample, positions 1 to `tokens` carry activations, and the id after each is its target.
    """

    planted: bool = True
    tokenizer: None = None
    dtype = torch.float32

    def __init__(self, world: World, name: str, device: str = "cpu") -> None:
        self.world, self.name, self.device = world, WORLD + name, torch.device(device)
        self.revision: str | None = None
        self.special = torch.empty(0, dtype=torch.long)
        self.width = world.spec.d
        self.tokens = world.spec.tokens
        "Of a text."
        self.vocabulary, self.context = VOCABULARY, self.tokens + 2
        self.is_causal, self.n_layers = True, 1
        self._blocks: dict[int, tuple[Tensor, Tensor]] = {}
        causes = world.spec.causes
        g = torch.Generator().manual_seed(derive_seed("readout", world.spec.seed))
        readout = torch.randn(causes or self.width, VOCABULARY, generator=g)
        self.causes = self.by_frequency[:causes] if causes else torch.empty(0, dtype=torch.long)
        "Features that predictions are computed from. [causes]"
        sample = self._seen(world.sample(1024, "readout scale")[0].cpu())
        self._centre = sample.mean(0)
        self._readout = SPREAD * readout / ((sample - self._centre) @ readout).std()

    @classmethod
    def load(cls, name: str, *, device: str = "cpu") -> WorldModel:
        """The world called `name` (see worlds.spec.parse).

        Samples are drawn where its spec says, on the CPU by default, wherever tasks run.
        """
        return cls(World.named(name), name, device)

    @property
    def parameters(self) -> int:
        """Numbers of the readout, all that maps activations to logits."""
        return self._readout.numel()

    def fingerprint(self) -> str:
        """Identity of the world and of its texts."""
        spec = self.world.spec
        drawn = [spec.drawn_on] if spec.drawn_on != "cpu" else []
        caused = [{"causes": spec.causes, "step": STEP}] if spec.causes else []
        return digest(["world", 2, repr(spec), BLOCK, VOCABULARY, *drawn, *caused]) * 2

    def tokenizer_fingerprint(self) -> str:
        """Empty: there is no tokenizer."""
        return ""

    def shared_beginnings(self) -> int:
        """None are: a text of a world is a sample."""
        return 0

    def hook_name(self, hook: str) -> str:
        """The name as it is; SaebenchError for a hook other than `HOOK`."""
        if hook != HOOK:
            raise SaebenchError(f"{self.name} has no hook {hook!r}; its only one is {HOOK!r}")
        return hook

    def hook_width(self, hook: str) -> int:
        """Size of an activation; SaebenchError for a hook other than `HOOK`."""
        self.hook_name(hook)
        return self.width

    def features(self, block: int) -> Tensor:
        """True activations [BLOCK * tokens, N] of the texts of a block, token after token."""
        return self.world.features(BLOCK * self.tokens, "texts", block, tokens=self.tokens)

    @cached_property
    def by_frequency(self) -> Tensor:
        """Features [N] from the one that fires most to the rarest, by the first COUNTED blocks. On the CPU."""
        fired = sum((self.features(block) > 0).sum(0) for block in range(COUNTED))
        assert isinstance(fired, Tensor)
        return fired.argsort(descending=True, stable=True).cpu()

    def activations(self, block: int) -> Tensor:
        """Activations [BLOCK * tokens, d] of the texts of a block, token after token."""
        return self._block(block)[0].flatten(0, 1)

    def _block(self, block: int) -> tuple[Tensor, Tensor]:
        """Activations [BLOCK, tokens, d] and targets [BLOCK, tokens] of a block."""
        if block not in self._blocks:
            x = self.world.activations(self.features(block), "texts", block).cpu()
            g = torch.Generator().manual_seed(derive_seed("targets", self.world.spec.seed, block))
            targets = torch.multinomial(self.to_logits(x).softmax(-1), 1, generator=g)
            self._blocks[block] = x.view(BLOCK, self.tokens, -1), targets.view(BLOCK, self.tokens)
        return self._blocks[block]

    def to_logits(self, x: Tensor) -> Tensor:
        """Next-token logits [..., V] of activations [..., d]."""
        return (self._seen(x) - self._centre.to(x.device)) @ self._readout.to(x.device)

    def _seen(self, x: Tensor) -> Tensor:
        """What the readout reads of activations [..., d]: them, or how far each cause is there [..., causes]."""
        if not len(self.causes):
            return x
        world = self.world
        rows, bias, mean = (
            t.to(x.device) for t in (world.directions[self.causes], world.bias, world.mean[self.causes])
        )
        return (((x - bias) @ rows.T / mean - 0.5) / STEP).sigmoid()

    def tokenize(self, texts: Sequence[str], *, context: int | None, long_texts: LongTexts) -> list[list[int]]:
        """Token ids of the texts "sample 0", "sample 1", ...; SaebenchError for any other text."""
        out = []
        for t in texts:
            word, _, number = t.partition(" ")
            if word != "sample" or not (number.isascii() and number.isdigit()):
                raise SaebenchError(
                    f"{self.name} only reads its own samples ('sample 0', ...), not {t[:40]!r}; add --data {self.name}"
                )
            block, row = divmod(int(number), BLOCK)
            out.append([VOCABULARY + int(number), 0, *self._block(block)[1][row].tolist()])
        return out

    def positions(self, hook: str) -> Positions:
        """All tokens that carry activations: a world has no sinks."""
        return Positions()

    def real_lengths(self, ids: Sequence[Sequence[int]]) -> list[int]:
        """Tokens of each text that carry activations."""
        return [self.tokens] * len(ids)

    def batches(self, ids: Sequence[Sequence[int]], *, max_tokens: int) -> Iterator[tuple[list[int], TokenBatch]]:
        """(row numbers, batch) in the order of the texts."""
        size = max(1, max_tokens // self.context)
        for low in range(0, len(ids), size):
            rows = list(range(low, min(low + size, len(ids))))
            table = torch.tensor([list(ids[i]) for i in rows])
            real = torch.zeros_like(table, dtype=torch.bool)
            real[:, 1 : self.tokens + 1] = True
            on = torch.ones_like(real)
            yield rows, TokenBatch(table.to(self.device), on.to(self.device), real.to(self.device))

    def collect(self, batch: TokenBatch | Branches, hooks: Sequence[str]) -> dict[str, Tensor]:
        """Activations {hook: [b, L, d]}, 0 where a token carries none."""
        x = torch.zeros(*batch.ids.shape, self.width)
        for row, marker in enumerate((batch.ids[:, 0] - VOCABULARY).tolist()):
            x[row, 1 : self.tokens + 1] = self._block(marker // BLOCK)[0][marker % BLOCK]
        return {hook: x.to(self.device) for hook in hooks}

    def logits(self, batch: TokenBatch) -> Tensor:
        """Logits [b, L, V] of the true activations."""
        return self.to_logits(self.collect(batch, [HOOK])[HOOK])

    def prefix(self, batch: TokenBatch, hook: str) -> Prefix:
        """The activations, all that `logits_with` replaces."""
        return Prefix(self.collect(batch, [hook])[hook], None)

    def prefix_and_final(self, batch: TokenBatch, hook: str) -> tuple[Prefix, Tensor]:
        """The activations twice, for a world has one hook."""
        prefix = self.prefix(batch, hook)
        return prefix, prefix.acts

    def logits_from_final(self, batch: TokenBatch, final: Tensor) -> Tensor:
        """Logits [b, L, V] of activations [b, L, d]."""
        return self.to_logits(final)

    def logits_with(
        self, batch: TokenBatch, prefix: Prefix, replacement: Tensor, hook: str, *, gradients: bool = False
    ) -> Tensor:
        """Logits [b, L, V] of the replacement [b, L, d].

        Args:
            batch: texts the prefix was made of.
            prefix: the model up to the hook, as `prefix` gives it.
            replacement: what stands at the hook instead. [b, L, d]
            hook: where it stands.
            gradients: whether gradients flow back to the replacement.
        """
        with torch.set_grad_enabled(gradients):
            return self.to_logits(replacement)
