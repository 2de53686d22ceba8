"""The configuration of a run: checked at birth, read from files, written so that it repeats the run."""

import math
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saebench_lite.errors import SaebenchError
from saebench_lite.runs import runner
from saebench_lite.runs.config import RunConfig
from saebench_lite.runs.sharding import Shard

FULL = {
    "saes": ("native:a", "b=c#hook=blocks.1.hook_resid_post"),
    "models": ("pico", "random:pico"),
    "hooks": ("blocks.1.hook_resid_post", "blocks.2.hook_resid_post"),
    "data": ("bundled", "local:x.csv"),
    "tasks": ("sparse_probing",),
    "text_data": ("local:texts.txt",),
    "baselines": (),
    "control_of": ("all",),
    "seeds": (42, 7),
    "settings": {"sparse_probing": {"ks": (1, 5), "dedupe": False, "lr": 0.1, "probe": "l1", "context": None}},
    "profile": "sae-probes-0.4",
    "device": "cuda:1",
    "dtype": "bfloat16",
    "bos": "<|endoftext|>",
    "leave_out": "first:20",
    "memory": 20_000 / 2**30,
    "limit": 3,
    "max_texts": 100,
    "context": 64,
    "out": Path("results/x"),
    "cache": Path("~/cache"),
    "engine": "ray",
    "workers": 4,
    "plugins": ("my_plugin",),
    "force_site": True,
}


def test_yaml_round_trip(tmp_path):
    config = RunConfig(**FULL)
    path = tmp_path / "run.yaml"
    path.write_text(config.to_yaml())
    assert RunConfig.from_file(path) == config
    assert "results/x" in config.to_yaml()
    assert int((RunConfig.from_file(path).memory or 0) * 2**30) == 20_000


def test_only_what_was_asked_is_written_and_nothing_of_one_call(tmp_path):
    assert RunConfig().to_yaml().strip() == "{}"
    asked = RunConfig(limit=2, force=True, shard=Shard(2, 3))
    assert asked.to_yaml() == "limit: 2\n"
    path = tmp_path / "run.yml"
    path.write_text("")
    assert RunConfig.from_file(path) == RunConfig()


def test_toml_and_what_replaces_it(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(
        'tasks = "absorption"\nshard = "2/8"\nseeds = [1, 2]\n'
        "[settings.absorption]\nmin_share = 0.5\nwords = [1, [2]]\n"
    )
    config = RunConfig.from_file(path, seeds=1, settings={"absorption": {"min_share": 0.0}, "ce_delta": {"blocks": 2}})
    assert RunConfig.from_file(path, tasks=["ce_delta"]).settings == {}
    assert config == RunConfig(
        tasks=("absorption",),
        shard=Shard(2, 8),
        seeds=1,
        settings={"absorption": {"min_share": 0.0, "words": (1, (2,))}, "ce_delta": {"blocks": 2}},
    )


def test_nothing_in_the_place_of_settings_or_tasks_keeps_those_of_the_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("settings: {absorption: {min_share: 0.5}}\n")
    assert RunConfig.from_file(path, settings=None, tasks=None) == RunConfig.from_file(path)
    assert RunConfig.from_file(path, tasks="a task named absorption").settings == {}
    for wrong in (3, {"absorption": 3}):
        with pytest.raises(SaebenchError, match=r"^settings .* 3; write task: \{field: value\}$"):
            RunConfig.from_file(path, settings=wrong)
    with pytest.raises(SaebenchError, match=r"^tasks is 3; give a name"):
        RunConfig.from_file(path, tasks=3)


def test_numbers_of_numpy_are_those_of_python():
    settings = {"absorption": {"words": [np.int64(3), np.float32(0.5)]}}
    config = RunConfig(seeds=np.arange(2), limit=np.int64(1), memory=np.float64(0.5), settings=settings)  # type: ignore[arg-type]
    assert config == RunConfig(seeds=(0, 1), limit=1, memory=0.5, settings={"absorption": {"words": (3, 0.5)}})
    assert config.to_yaml() == (
        "seeds:\n- 0\n- 1\nsettings:\n  absorption:\n    words:\n    - 3\n    - 0.5\nmemory: 0.5\nlimit: 1\n"
    )
    for many in (np.int64(2), np.array(2)):
        assert RunConfig(seeds=many).to_yaml() == "seeds: 2\n"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("hook: x", r"there is no field 'hook'; did you mean hooks"),
        ("model: pico", r"no field 'model'; did you mean models"),
        ("zzz: 1", r"no field 'zzz'; there are saes, models"),
        ("seeds: three", r"run\.yaml: seeds must be at least 1 or a list of seeds, not 'three'"),
        ("force: 1", "force is 1; write true or false"),
        ("tasks: [1]", "tasks holds 1; give a name"),
        ("settings: [a]", "settings is "),
        ("settings: {a: 3}", "settings of 'a' is 3; write task"),
        ("settings: {a: {b: 2020-01-01}}", r"settings a\.b is .*; give a number"),
        ("- a", "holds a list; write lines of field: value"),
        ("a: [", "is not valid yaml"),
    ],
)
def test_bad_files(tmp_path, text, sentence):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(SaebenchError, match=sentence):
        RunConfig.from_file(path)


def test_files_that_are_none(tmp_path):
    with pytest.raises(SaebenchError, match="is neither YAML nor TOML by its name"):
        RunConfig.from_file(tmp_path / "run.json")
    with pytest.raises(SaebenchError, match="cannot be read: No such file"):
        RunConfig.from_file(tmp_path / "run.yaml")


WRONG = {
    "saes": [3, [""]],
    "models": [(), "", 3, ("pico", "pico")],
    "hooks": [3, ("a", "a"), (None,)],
    "data": [(), 3],
    "text_data": [(), 3],
    "tasks": [(), 3, ("a", "a")],
    "baselines": [3],
    "control_of": [3],
    "seeds": [0, -1, True, 1.5, "3", (), (1, 1), (-1,), (1.5,), None, np.zeros(2), np.eye(2, dtype=int), np.int64(0)],
    "settings": [3, {"a": 3}, {3: {}}, {"a": {"b": object()}}, None],
    "profile": ["none", 3],
    "device": ["", 3, None],
    "devices": [3, "", ["cpu", 1]],
    "dtype": ["float64", None, 3],
    "encode": ["fp8", None, 3],
    "bos": ["", None, 3],
    "leave_out": ["sink", "sinks:1", "special:3", None, 3],
    "memory": [0, -1.0, float("inf"), float("nan"), "1", True],
    "limit": [0, 1.5, True, "3", np.int64(0), np.float64(2), np.True_],
    "max_texts": [0, 1.5, True, "3"],
    "context": [0, 1.5, True, "3"],
    "out": [3, "", " "],
    "cache": [3],
    "force": [1, None, "yes"],
    "shard": ["3/2", 3, (1, 2), Shard(0, 2)],
    "engine": ["dask", None],
    "workers": [0, 1.5],
    "jobs": [0, 1.5, True, "3"],
    "plugins": [3, None],
    "force_site": [0],
}


def test_every_field_refuses_a_wrong_value():
    import dataclasses

    assert set(WRONG) == {f.name for f in dataclasses.fields(RunConfig)}
    for field, values in WRONG.items():
        for value in values:
            with pytest.raises(SaebenchError) as caught:
                RunConfig(**{field: value})
            sentence = str(caught.value)
            assert field.removesuffix("s") in sentence, (field, value, sentence)
            assert "; " in sentence or "must be" in sentence, sentence
            assert "\n" not in sentence


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"models": "gpt2"}, "hook is needed with model gpt2; for example"),
        ({"engine": "ray", "out": "x", "shard": "1/2"}, "shard 1/2 and engine 'ray' both split the work"),
        ({"engine": "ray"}, "engine 'ray' has no out; name a folder"),
        ({"workers": 3}, "workers 3 are for engine 'ray', not 'local'"),
    ],
)
def test_contradictions(fields, sentence):
    with pytest.raises(SaebenchError, match=sentence):
        RunConfig(**fields)


def test_sites_and_default_hooks():
    assert RunConfig().sites == [("pico", "blocks.2.hook_resid_post")]
    assert RunConfig(models=("world:tiny",)).sites == [("world:tiny", "world")]
    both = RunConfig(models=("a", "b"), hooks=("x", "y")).sites
    assert both == [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]


def test_the_configuration_needs_no_torch():
    code = "import sys; from saebench_lite.runs.config import RunConfig; RunConfig(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ({"model": None}, "models is None"),
        ({"model": []}, "models is an empty list"),
        ({"hook": None}, "hooks is None"),
        ({"hook": [3]}, "hooks holds 3"),
        ({"data": None}, "data is None"),
        ({"seeds": None}, "seeds must be at least 1"),
        ({"memory": "1"}, "memory is '1'"),
        ({"settings": {"a": 3}}, "settings of 'a' is 3"),
        ({"tasks": "absorptoin"}, "did you mean absorption"),
        ({"plugins": "no_such_module"}, "plugin 'no_such_module' cannot be imported"),
        ({"profile": []}, "there is no profile"),
    ],
)
def test_a_call_from_python_gets_the_same_sentences(argument, sentence):
    from saebench_lite.runs.runner import run

    with pytest.raises(SaebenchError, match=sentence):
        run([], **({"model": "pico", "hook": "blocks.2.hook_resid_post"} | argument))


def test_runs_in_one_folder_have_a_file_each(tmp_path):
    for seeds in (1, 2, 1, 3, 2):
        runner._write_config(RunConfig(seeds=seeds, out=tmp_path), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run-2.yaml", "run-3.yaml", "run.yaml"]
    names = ("run.yaml", "run-2.yaml", "run-3.yaml")
    assert [RunConfig.from_file(tmp_path / name).seeds for name in names] == [1, 2, 3]


ABSURD: tuple[Any, ...] = (
    -1,
    0,
    10**400,
    10**5000,
    -(10**400),
    2.5,
    math.nan,
    math.inf,
    1e308,
    Fraction(10**400, 3),
    True,
    "many",
)


@pytest.mark.parametrize("field", ["seeds", "limit", "max_texts", "context", "memory", "workers", "jobs"])
def test_absurd_numbers_are_one_short_sentence(field):
    for value in ABSURD:
        if (field, value) == ("memory", 2.5):
            continue
        with pytest.raises(SaebenchError, match=f"^{field} ") as error:
            RunConfig(**{field: value})
        assert len(str(error.value)) < 160
        if field == "memory":
            with pytest.raises(SaebenchError, match=r"^memory is .*; give (a number above|1,125,899,906,842,624)"):
                runner.run(memory=value)


def test_huge_numbers_in_lists_and_settings_are_refused():
    for value in (10**400, 10**5000):
        with pytest.raises(SaebenchError, match=r"^seeds is about 10\^\d+; give less than 2\^63$"):
            RunConfig(seeds=(1, value))
        with pytest.raises(SaebenchError, match="setting max_tokens must be a whole number below"):
            runner.run({}, tasks="reconstruction", settings={"reconstruction": {"max_tokens": value}})
