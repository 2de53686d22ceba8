"""Oracle: the true features of a synthetic world as an SAE. Nothing of its width can know more.

Its latents are the quarter of the features that fire most often, its codes their true activations, its decoder their
true directions. A metric that does not put it first measures something else than the features.
"""

from saebench_lite.api.baseline import Baseline
from saebench_lite.api.context import EvalContext
from saebench_lite.errors import NotApplicable
from saebench_lite.worlds.model import BLOCK, WorldModel
from saebench_lite.worlds.oracle import OracleSAE


def make(ctx: EvalContext, seed: int) -> OracleSAE:
    """An oracle for all samples the data names."""
    if not isinstance(ctx.lm, WorldModel):
        raise NotApplicable(f"the true features of {ctx.lm.name} are not known")
    corpora = [*ctx.data.texts, *(d.corpus for d in (*ctx.data.datasets, *ctx.data.concepts))]
    last = max(int(text.split()[1]) for c in {c.fingerprint: c for c in corpora}.values() for text in c.texts)
    return OracleSAE(ctx.lm, ctx.lm.world.spec.features // 4, last // BLOCK + 1)


BASELINE = Baseline(
    name="oracle",
    description="the true features of a synthetic world",
    kind="oracle",
    make=make,
    requires_ground_truth=True,
)
