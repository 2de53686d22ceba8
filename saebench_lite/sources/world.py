"""Worlds with known features: `--model world:small --hook world --data world:small`."""

from __future__ import annotations

from saebench_lite.data.types import Data, Source
from saebench_lite.errors import SaebenchError

TEXTS = 20_480


def load(where: str, limit: int | None) -> Data:
    """Concepts, hierarchy and texts of the world called `where`; `limit` keeps the first concepts."""
    if not where:
        raise SaebenchError("data source 'world' needs a name; write --data world:small")
    from saebench_lite.worlds.concepts import build
    from saebench_lite.worlds.model import WorldModel

    data = build(WorldModel.load(where), TEXTS)
    concepts = data.datasets[:limit]
    return Data(data.name, datasets=concepts, concepts=concepts, texts=data.texts, parents=data.parents)


SOURCE = Source(
    description="worlds with known features; where: tiny, small, standard-16k, NAME-SEED, secret-SEED", load=load
)
