"""What an SAE or a model is, whichever is given."""

from __future__ import annotations

from saebench_lite.errors import SaebenchError
from saebench_lite.models.token_rule import TokenRule
from saebench_lite.names import AUTO_DEVICE
from saebench_lite.runs.inspect_model import ModelReport, inspect_model
from saebench_lite.runs.inspect_sae import Report, inspect_sae
from saebench_lite.saes.protocol import SAE


def inspect(
    sae: str | SAE | None = None,
    *,
    model: str | None = None,
    hook: str | None = None,
    texts: int = 200,
    device: str = AUTO_DEVICE,
    dtype: str = "float32",
    rule: TokenRule = TokenRule(),  # noqa: B008  (frozen)
) -> Report | ModelReport:
    """The report on an SAE (`inspect_sae`), measured on a model where there is one, or on a model alone.

    SaebenchError where neither is given or one cannot be read.

    Args:
        sae: `name=loader:where` of an SAE, or a live one.
        model: name of a model.
        hook: hook point; by default the one the SAE or the model names, or the residual stream of the middle block.
        texts: bundled texts to measure an SAE on.
        device: where the model goes; by default the first CUDA device, or the CPU.
        dtype: of the model.
        rule: what is put in front of texts, and which tokens are left out.
    """
    if sae is not None:
        return inspect_sae(sae, model=model, hook=hook, texts=texts, device=device, dtype=dtype, rule=rule)
    if model is None:
        raise SaebenchError("there is nothing to inspect; give the spec of an SAE, --model NAME, or both")
    return inspect_model(model, hook=hook, device=device, dtype=dtype, rule=rule)
