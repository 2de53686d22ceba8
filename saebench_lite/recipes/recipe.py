"""The recipe of a trained SAE, checked when it is made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Literal, get_args

from saebench_lite.api.settings import Count, Range, Settings, Share
from saebench_lite.errors import SaebenchError, told

Architecture = Literal[
    "relu", "topk", "batchtopk", "jumprelu", "gated", "matryoshka", "matching_pursuit", "p_annealing", "top_afa"
]
Frozen = Literal["none", "decoder", "soft_decoder", "encoder"]
Positive = Annotated[float, Range(0.0, open=True)]
Weight = Annotated[float, Range(0.0)]
Seed = Annotated[int, Range(0)]

WHOLE_L0 = ("topk", "matching_pursuit")
"Architectures that keep a whole number of latents for each row."


@dataclass(frozen=True, kw_only=True)
class SAERecipe(Settings):
    """Choices that determine a trained SAE; stored in its meta."""

    architecture: Architecture
    d_sae: Count
    l0: int | float
    "Active latents per token aimed at; a whole number for topk and matching_pursuit."
    steps: Count = 6000
    batch: Count = 1024
    "Rows of a step; a stream of activations sets its own."
    lr: Positive = 1e-3
    decay: Share = 0.25
    "Last share of the steps over which the learning rate falls to zero."
    aux: Weight = 1 / 32
    "Weight of the auxiliary loss on dead latents (topk, batchtopk, matryoshka, matching_pursuit, top_afa)."
    dead_after: Count = 150
    "Steps without firing after which a latent counts as dead."
    afa: Weight = 1 / 32
    "Weight of top_afa's squared distance between the norm of a code and its aim."
    bandwidth: Positive = 1.0
    "Width of JumpReLU's straight-through kernel, in units of scaled inputs."
    prefixes: tuple[float, ...] = (1 / 32, 1 / 8, 1 / 2, 1.0)
    "Matryoshka's nested dictionaries as shares of d_sae; the last is 1."
    frozen: Frozen = "none"
    "The part left as it was drawn at random (see `frozen.py`)."
    end_to_end: bool = False
    "Whether the model's predictions with the reconstruction at the hook join the loss (KL, beside the squared error)."
    bf16: bool = False
    "Matrix products in bfloat16 (autocast); faster on CUDA."
    seed: Seed = 0
    "Draws the first decoder; a synthetic world of the same torch seed may hold just these directions, so vary them."

    def __post_init__(self) -> None:
        for what, value, kind in (("architecture", self.architecture, Architecture), ("frozen", self.frozen, Frozen)):
            if value not in get_args(kind):
                known = ", ".join(get_args(kind))
                raise SaebenchError(f"there is no recipe for {what} {told(value)}; choose from {known}")
        super().__post_init__()
        if not 0 < self.l0 < self.d_sae:
            raise SaebenchError(f"l0 must lie between 0 and d_sae = {self.d_sae}, not {self.l0}")
        if self.architecture in WHOLE_L0 and self.l0 != int(self.l0):
            raise SaebenchError(f"l0 of {self.architecture} must be a whole number, not {self.l0}; round it")
        if self.architecture == "matching_pursuit" and self.frozen != "none":
            raise SaebenchError(
                f"matching_pursuit encodes with its decoder; it cannot have frozen = {self.frozen!r}, keep 'none'"
            )
        shares = self.prefixes
        if not shares or shares[0] <= 0 or shares[-1] != 1 or list(shares) != sorted(set(shares)):
            raise SaebenchError(f"prefixes must be rising shares of d_sae that end in 1, not {shares}")

    def facts(self) -> dict[str, object]:
        """All fields, in JSON types."""
        return {**asdict(self), "prefixes": list(self.prefixes)}

    def prefix_sizes(self) -> tuple[int, ...]:
        """Latents in each nested dictionary, rising to d_sae; shares that round to the same size count once."""
        return tuple(sorted({max(1, round(share * self.d_sae)) for share in self.prefixes}))
