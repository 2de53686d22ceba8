"""Loads models and tokenizers with transformers, and says where they are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from saebench_lite.errors import SaebenchError, contained, reason
from saebench_lite.models.gguf import SMOLLM2, SMOLLM2_FOLDER, converted, smollm2
from saebench_lite.models.minilm import FOLDER as MINILM_FOLDER
from saebench_lite.models.minilm import MINILM, minilm
from saebench_lite.models.tokens import special_ids
from saebench_lite.names import PICO, RANDOM, read_model_name

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def locate(name: str) -> tuple[str, str]:
    """(where to load from, name shown). A folder is shown by its last part, so that no path of a machine is stored."""
    if name == PICO:
        from saebench_lite.bundled import ROOT

        return str(ROOT / PICO), PICO
    if name == SMOLLM2:
        return str(smollm2()), SMOLLM2_FOLDER
    if name == MINILM:
        return str(minilm()), MINILM_FOLDER
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise SaebenchError(f"there is no GGUF file at {name!r}; check the path")
        return str(converted(path)), path.stem
    if path.is_dir():
        return str(path), path.absolute().name
    if name.startswith(("/", ".", "~")):
        raise SaebenchError(f"there is no model folder at {name!r}; check the path")
    return name, name


def loaded(
    name: str, where: str, revision: str | None, dtype: torch.dtype
) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """Model and tokenizer; SaebenchError if they cannot be loaded or lack weights.

    Args:
        name: what messages call the model.
        where: folder or hub id.
        revision: of a hub id.
        dtype: of the weights.
    """
    try:
        with contained():
            net, tokenizer, missing = from_pretrained(where, revision, dtype)
    except SaebenchError:
        raise
    except Exception as error:  # what can be wrong with files or a network has no common class
        raise SaebenchError(
            f"model {name!r} cannot be loaded ({reason(error)}); check the name or path, or download it and give its"
            " folder"
        ) from error
    if missing and all(key.startswith("decoder.") for key in missing):
        raise SaebenchError(
            f"model {name!r} is the encoder alone of a model with an encoder and a decoder, which is not supported; use"
            " a model with one stack"
        )
    if missing:
        raise SaebenchError(
            f"model {name!r} lacks {len(missing)} of its weights ({missing[0]}, ...); download it again"
        )
    return net, tokenizer


def from_pretrained(
    where: str, revision: str | None, dtype: torch.dtype
) -> tuple[nn.Module, PreTrainedTokenizerBase, list[str]]:
    """Model, tokenizer, and the names of weights that the files lack, which transformers fills with random numbers."""
    import transformers as hf

    hf.utils.logging.disable_progress_bar()
    common: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    config = hf.AutoConfig.from_pretrained(where, **common)
    refuse(config, where)
    causal = type(config) in hf.MODEL_FOR_CAUSAL_LM_MAPPING and predicts_next(
        config, config.architectures or ["ForCausalLM"]
    )
    auto = hf.AutoModelForCausalLM if causal else hf.AutoModel
    recent = tuple(int(part) for part in hf.__version__.split(".")[:2]) >= (4, 56)
    common |= {"dtype" if recent else "torch_dtype": dtype, "output_loading_info": True}
    loaded: Any = auto.from_pretrained(where, **common)
    net, info = loaded
    tokenizer = hf.AutoTokenizer.from_pretrained(where, revision=revision, trust_remote_code=False)
    return net, tokenizer, sorted(key for key in info["missing_keys"] if "pooler" not in key)


def refuse(config: object, name: str) -> None:
    """SaebenchError for a configuration that no hook can serve, or that names code to be fetched."""
    if getattr(config, "is_encoder_decoder", False):
        raise SaebenchError(
            f"model {name!r} has an encoder and a decoder, and a hook blocks.N would mean one of them; use a model with"
            " one stack"
        )
    if "/" in str(getattr(config, "_attn_implementation", "")):
        raise SaebenchError(
            f"the configuration of model {name!r} asks for attention code from elsewhere; take attn_implementation out"
        )


def predicts_next(config: object, architectures: Sequence[str]) -> bool:
    """Whether a class of one of these names is causal and has a next-token head."""
    ends = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
    return not getattr(config, "is_encoder_decoder", False) and any(a.endswith(ends) for a in architectures)


def by_name(name: str, revision: str | None, dtype: torch.dtype) -> tuple[nn.Module, PreTrainedTokenizerBase, str]:
    """(model, tokenizer, label) of a name as `LanguageModel.load` takes it, on the CPU."""
    parsed = read_model_name(name)
    where, label = locate(parsed.base)
    net, tokenizer = loaded(name, where, revision, dtype)
    return (reinitialised(net), tokenizer, RANDOM + label) if parsed.kind == "random" else (net, tokenizer, label)


def reinitialised(net: nn.Module) -> nn.Module:
    """A model of the same class and configuration with fresh weights from its own initialisation, seed 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        given: Any = net
        return type(given)(given.config).to(given.dtype)


def fingerprint(net: nn.Module, tokenizer: PreTrainedTokenizerBase, context: int) -> str:
    """SHA-256 over weights, configuration and tokenizer of a model that takes `context` tokens."""
    sha = hashlib.sha256(f"{type(net).__name__} {context} {special_ids(tokenizer).tolist()}".encode())
    config: Any = net.config
    for key, value in sorted(config.to_dict().items()):
        if key not in ("_name_or_path", "transformers_version", "dtype", "torch_dtype"):
            sha.update(f"{key}={value}".encode())
    for token, index in sorted(tokenizer.get_vocab().items()):
        sha.update(f"{index} {token}\n".encode("utf-8", "surrogatepass"))
    for name, tensor in sorted(net.state_dict().items()):
        sha.update(name.encode())
        sha.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()
