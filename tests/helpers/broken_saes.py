"""SAEs of three sparsities, and SAEs that raise, each in a way of its own."""

from pathlib import Path
from typing import ClassVar

import torch

from saebench_lite.saes.affine import AffineSAE


def topk(k: int) -> AffineSAE:
    g = torch.Generator().manual_seed(k)
    directions = torch.randn(96, 128, generator=g)
    directions /= directions.norm(dim=1, keepdim=True)
    return AffineSAE(W_enc=directions.T, W_dec=directions, activation="topk", k=k)


SAES = {"few": topk(4), "some": topk(8), "many": topk(40)}


class Plain:
    """A live SAE of nothing but the four members."""

    d_in, d_sae = 128, 96

    def encode(self, x):
        return SAES["some"].encode(x)

    def decode(self, f):
        return SAES["some"].decode(f)


class NoFacts(Plain):
    meta = None


class OddFacts(Plain):
    meta: ClassVar = {"loss": float("nan"), "dtype": torch.float32, "from": Path("x")}


class RaisesThird(Plain):
    calls = 0

    def encode(self, x):
        self.calls += 1
        if self.calls > 2:
            raise ValueError("third time")
        return super().encode(x)


class CannotMove(Plain):
    def to(self, device):
        raise torch.cuda.OutOfMemoryError("out of memory\nTried to allocate")


class Mute(Plain):
    def to(self, device):
        raise RuntimeError


class NoWidth(Plain):
    @property
    def d_in(self):
        raise OSError("unplugged")


class NoName(Plain):
    def fingerprint(self):
        raise LookupError("who am I")


class InPlace(Plain):
    def encode(self, x):
        x /= x.norm(dim=-1, keepdim=True)
        return super().encode(x)


class RaisesOnTexts(Plain):
    """Conforms and raises while its L0 is measured."""

    def encode(self, x):
        if len(x) > 20:
            raise MemoryError
        return super().encode(x)


BROKEN = {
    "raises third": (RaisesThird(), "encode failed on a float32 tensor [5, 128]: ValueError: third time"),
    "cannot move": (CannotMove(), "OutOfMemoryError: out of memory"),
    "mute": (Mute(), "RuntimeError"),
    "no width": (NoWidth(), "NoWidth.d_in cannot be read: OSError: unplugged"),
    "no name": (NoName(), "LookupError: who am I"),
    "in place": (InPlace(), "encode writes to its input, which others read too"),
    "on texts": (RaisesOnTexts(), "memory ran out"),
    "nothing": (None, "NoneType has no 'd_in'"),
}
