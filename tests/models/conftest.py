"""Tiny models, built once."""

import pytest
import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM

from saebench_lite.models.language_model import LanguageModel
from tests.helpers.tiny_models import CONFIGS, tokenizer


@pytest.fixture(scope="module")
def built():
    cache: dict[str, LanguageModel] = {}

    def build(name: str) -> LanguageModel:
        if name not in cache:
            torch.manual_seed(0)
            auto = AutoModel if name == "bert" else AutoModelForCausalLM
            net = auto.from_config(CONFIGS[name]())
            for parameter in net.parameters():  # biases and norms away from 0 and 1: a hook in the wrong place shows
                nn.init.normal_(parameter, std=0.3)
            cache[name] = LanguageModel(net, tokenizer(), name=name)
        return cache[name]

    return build
