"""Options of a run that the objects it was given have settled already."""

from __future__ import annotations

import torch

from saebench_lite.errors import SaebenchError
from saebench_lite.models.devices import resolved
from saebench_lite.models.protocol import Model
from saebench_lite.models.token_rule import TokenRule
from saebench_lite.runs.config import RunConfig
from saebench_lite.runs.live import Live

GIVEN = RunConfig()
"What a run has unasked."


def check_live(live: Live, config: RunConfig) -> None:
    """SaebenchError for an option that says something else of the model or the data than the objects given do."""
    if live.model is not None:
        _check_model(live.model, config)
    if live.data is not None and config.limit is not None and config.text_data is None:
        raise SaebenchError(
            f"limit is {config.limit}, and data given as an object are taken whole; give fewer datasets, or a data spec"
        )


def _check_model(lm: Model, config: RunConfig) -> None:
    if config.token_rule not in (TokenRule(), getattr(lm, "rule", TokenRule())):
        raise SaebenchError(
            f"bos {config.bos!r} and leave_out {config.leave_out!r} are not those of the model object {lm.name}; give"
            " its name, or load it with LanguageModel.load(..., rule=TokenRule(...))"
        )
    dtype = str(lm.dtype).removeprefix("torch.")
    if config.dtype not in (GIVEN.dtype, dtype):
        raise SaebenchError(_other(lm, "dtype", config.dtype, dtype))
    if config.device != GIVEN.device:
        asked = torch.device(resolved(config.device))
        if asked.type != lm.device.type or asked.index not in (None, lm.device.index):
            raise SaebenchError(_other(lm, "device", config.device, str(lm.device)))


def _other(lm: Model, field: str, asked: str, held: str) -> str:
    return f"{field} is {asked!r}, and the model object {lm.name} has {held}; give its name, or load it so"
