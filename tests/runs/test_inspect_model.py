"""The inspection of a model alone: hooks, tokens and sinks as they are, and which tasks can run on it."""

import json

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM
from typer.testing import CliRunner

import saebench_lite as sb
from saebench_lite.cli import main
from saebench_lite.errors import SaebenchError
from saebench_lite.models.token_rule import TokenRule
from saebench_lite.runs import inspect_model
from saebench_lite.runs.inspect_model import _place
from tests.conftest import HOOK
from tests.helpers.planted_sink import planted
from tests.helpers.tiny_models import CONFIGS, tokenizer


def saved(folder, name: str, *, bos: bool = True) -> str:
    """The folder of a tiny random model."""
    torch.manual_seed(0)
    auto = AutoModel if name == "bert" else AutoModelForCausalLM
    auto.from_config(CONFIGS[name]()).save_pretrained(folder)
    tokenizer(bos).save_pretrained(folder)
    return str(folder)


def test_the_bundled_model(pico):
    report = inspect_model.inspect_model("pico")
    assert (report["layers"], report["width"], report["vocabulary"], report["context"]) == (5, 128, 4096, 256)
    assert (report["dtype"], report["device"], report["parameters"]) == ("float32", "cpu", pico.parameters)
    assert report["special"] == {"<|endoftext|>": 0, "<|pad|>": 1}
    assert report["tokenizer_adds"] == "<|endoftext|>"
    assert report["hooks"][1] == "blocks.{0..4}.hook_resid_post"
    assert report["place"] == {
        "hook": HOOK,
        "width": 128,
        "token_rule": pico.positions(HOOK).code,
        "sinks": 0.0,
        "limit": None,
        "finding": "",
    }
    assert report["tasks"]["reconstruction"] == report["tasks"]["ce_delta"] == "runs"
    assert report["tasks"]["probing_regimes"] == "runs on request"
    assert report["tasks"]["truth"].startswith("cannot run: the true features must be known")
    assert json.loads(json.dumps(report)) == report


def test_an_encoder_without_words(tmp_path):
    report = inspect_model.inspect_model(saved(tmp_path, "bert"), hook="encoder.layer.1")
    assert report["place"]["hook"] == "blocks.1.hook_resid_post"
    assert report["tasks"]["ce_delta"] == f"cannot run: {tmp_path.name} has no next-token head"
    assert report["tasks"]["absorption"].startswith("cannot run: 26 words of the vocabulary are one token")
    assert report["tasks"]["sparse_probing"] == "runs"


def test_a_tokenizer_that_adds_nothing_and_the_rule_asked_for(tmp_path):
    folder = saved(tmp_path, "llama", bos=False)
    report = inspect_model.inspect_model(folder, rule=TokenRule(bos="prepend", leave_out="first"), dtype="bfloat16")
    assert (report["tokenizer_adds"], report["dtype"]) == (None, "bfloat16")
    assert report["place"]["token_rule"] == "no-special-tokens,bos:<s>,no-first"
    assert "each text begins with '<s>'" in report["place"]["finding"]


def test_the_share_of_sinks_and_the_limit(pico):
    stop = pico.tokenizer.convert_tokens_to_ids(".")
    lm = planted(pico, lambda ids: ids == stop)
    place, positions = _place(lm, HOOK), lm.positions(HOOK)
    assert 0 < place["sinks"] < 0.2
    assert place["limit"] == positions.limit < float("inf")
    assert f"{place['sinks']:.2%} of a sample" in place["finding"]


def test_a_world_has_one_hook_and_every_task():
    report = inspect_model.inspect_model("world:tiny")
    assert (report["hooks"], report["modules"], report["special"]) == (["world"], 0, {})
    assert not [why for why in report["tasks"].values() if why.startswith("cannot")]


def test_from_python_and_from_the_command_line():
    report = sb.inspect(model="pico", hook="layers.1.mlp")
    assert "place" in report
    assert report["place"]["hook"] == "blocks.1.hook_mlp_out"
    with pytest.raises(SaebenchError, match="there is nothing to inspect; give the spec of an SAE, --model NAME"):
        sb.inspect()
    done = CliRunner().invoke(main.app, ["inspect", "--model", "pico", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["place"]["hook"] == HOOK
    text = CliRunner().invoke(main.app, ["inspect", "--model", "pico"]).output
    for line in ("layers               5", f"at {HOOK}", "  ce_delta           runs"):
        assert line in text.splitlines()
