"""What can be known to fail is said before a model is loaded, in one sentence that names the option."""

import os
import sys
from typing import Any

import pytest

from saebench_lite.activations.cache_size import LIMIT
from saebench_lite.activations.oom_backoff import is_out_of_memory
from saebench_lite.api.needs import Need, check_needs
from saebench_lite.cli.run import effective, parse_settings
from saebench_lite.errors import SaebenchError, out_of_memory, reason
from saebench_lite.files import check_file, check_folder, safe_name
from saebench_lite.models.devices import resolved
from saebench_lite.progress import messages_to
from saebench_lite.runs import local_engine, runner, setup
from saebench_lite.runs.config import RunConfig
from saebench_lite.runs.config_checks import MOST_SEEDS
from saebench_lite.runs.machine import check_machine
from saebench_lite.runs.sharding import Shard


@pytest.mark.parametrize("field", ["out", "cache"])
@pytest.mark.parametrize("place", ["a file", "below a file", "/proc/nope/x", "long"])
def test_folders_that_cannot_be_written_stop_a_run_before_anything_is_loaded(tmp_path, monkeypatch, field, place):
    (tmp_path / "file").write_text("{}")
    folder = {"a file": tmp_path / "file", "below a file": tmp_path / "file" / "x", "long": tmp_path / ("x" * 300)}
    monkeypatch.setattr(local_engine, "run", lambda *a: pytest.fail("the work began"))
    config = RunConfig(**{field: folder.get(place, place)})
    with pytest.raises(SaebenchError, match=rf"^{field} '.*' cannot be written to \(.*\); give another folder$"):
        runner.execute(config)


def test_a_folder_is_made_and_left_empty(tmp_path):
    check_folder("out", tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_file_to_write_is_no_folder(tmp_path):
    check_file("junit", tmp_path / "x.xml")
    with pytest.raises(SaebenchError, match=r"^junit '.*' is a folder; give the name of a file$"):
        check_file("junit", tmp_path)
    with pytest.raises(SaebenchError, match=r"^junit '/proc/nope' cannot be written to"):
        check_file("junit", type(tmp_path)("/proc/nope/x.xml"))


@pytest.mark.parametrize(
    "device", ["mps", "xpu", "meta", "hpu", "vulkan", "cuda:99", "gpu", "", "cpu:x", "privateuseone"]
)
def test_devices_that_are_not_here_are_refused(device):
    with pytest.raises(SaebenchError, match=rf"^device '{device}' (is not (known|available)|has no float64)"):
        resolved(device)


def test_the_cpu_is_always_here():
    resolved("cpu")


@pytest.mark.parametrize(
    "text", ["²/3", "1/²", "١/٢", "9" * 5000 + "/3", "1/" + "9" * 5000, "0/3", "4/3", "1/3 ", "+1/3"]
)
def test_shards_are_plain_numbers(text):
    with pytest.raises(SaebenchError, match="is not understood; write i/n"):
        Shard.parse(text)


@pytest.mark.parametrize("seeds", [MOST_SEEDS + 1, 10**12])
def test_more_seeds_than_anyone_runs_are_refused(seeds):
    with pytest.raises(SaebenchError, match=r"seeds is .*; give 10,000 at most"):
        RunConfig(seeds=seeds)
    assert RunConfig(seeds=MOST_SEEDS).seeds == MOST_SEEDS


@pytest.mark.parametrize("memory", [1e-5, 1e-30, 0.0009])
def test_memory_that_would_take_for_ever_is_refused(memory):
    with pytest.raises(SaebenchError, match=r"memory is .*; give 0\.001 GiB at least"):
        effective(None, memory=memory)
    assert effective(None, memory=0.001).memory == 0.001


def test_memory_that_overflows_is_refused():
    with pytest.raises(SaebenchError, match=r"^memory is 1e\+300; give 1,048,576 GiB at most$"):
        RunConfig(memory=1e300)
    assert RunConfig(memory=1024.0).memory == 1024


def test_a_run_and_its_plan_refuse_the_same(tmp_path, monkeypatch):
    file, new = tmp_path / "file", tmp_path / "new"
    file.write_text("")
    for make in (False, True):
        for config, sentence in (
            (RunConfig(out=file), "out '.*' cannot be written to"),
            (RunConfig(cache=file), "cache '.*' cannot be written to"),
            (RunConfig(devices=("cpu", "nosuch")), "device 'nosuch' is not known"),
        ):
            with pytest.raises(SaebenchError, match=f"^{sentence}"):
                check_machine(config, make=make)
        check_machine(RunConfig(out=new, devices=("cpu",)), make=make)
        assert new.exists() is make
    monkeypatch.setenv(LIMIT, "abc")
    with pytest.raises(SaebenchError, match=f"^{LIMIT} is 'abc'"):
        check_machine(RunConfig(), make=False)


def test_a_setting_nested_too_deep_is_a_sentence():
    with pytest.raises(SaebenchError, match=r"--set absorption\.x is nested too deep"):
        parse_settings(["absorption.x=" + "[" * 100_000])


@pytest.mark.parametrize("name", ["\U0001f600" * 200, "x" * 500, "é" * 300, "\udcff" * 90, "a/b", "...", "\x00\n"])
def test_names_of_files_fit_into_a_folder(tmp_path, name):
    made = safe_name(name)
    assert len(os.fsencode(made + "-0123456789abcdef.json")) < 255
    (tmp_path / made).write_text("x")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("std::bad_alloc"),
        RuntimeError("std::bad_alloc"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
        ),
    ],
)
def test_memory_that_ran_out_is_called_that(error):
    assert out_of_memory(error)
    assert is_out_of_memory(error)
    assert reason(error) == "memory ran out"


def test_other_errors_are_not():
    for error in (RuntimeError("size mismatch"), ValueError("x"), OSError("disk full")):
        assert not out_of_memory(error)
        assert not is_out_of_memory(error)


@pytest.mark.parametrize(
    ("asked", "module", "sentence"),
    [
        ({"profile": "sae-probes-0.4"}, "sklearn", "task 'sparse_probing' under these settings needs sklearn"),
        ({"settings": {"sparse_probing": {"probe": "l1"}}}, "sklearn", "task 'sparse_probing' .* needs sklearn"),
        ({"baselines": ["boosted_trees"]}, "xgboost", "baseline 'boosted_trees' needs xgboost"),
    ],
)
def test_packages_that_are_missing_stop_a_run_before_anything_is_loaded(monkeypatch, asked, module, sentence):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(setup, "load_data", lambda *a: pytest.fail("the work began"))
    extra = {"sklearn": "peers", "xgboost": "trees"}[module]
    with pytest.raises(SaebenchError, match=rf"^{sentence}.* pip install 'saebench-lite\[{extra}\]'$"):
        runner.execute(RunConfig(**asked))


def test_what_does_not_need_a_package_runs_without_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setattr(setup, "load_data", lambda *a: (_ for _ in ()).throw(SaebenchError("here")))
    questions: list[dict[str, Any]] = [{}, {"tasks": ["sparse_probing"]}, {"profile": "saebench-0.6"}]
    for asked in questions:
        with pytest.raises(SaebenchError, match=r"^here$"):
            runner.execute(RunConfig(**asked))


def test_a_package_is_there_or_not():
    check_needs("x", [Need("numpy", "a"), Need("json", "b")])
    with pytest.raises(SaebenchError, match=r"^x needs no_such_module, which is not installed"):
        check_needs("x", [Need("numpy", "a"), Need("no_such_module", "b")])


@pytest.mark.parametrize("spec", ["misspelt", "runs/misspelt", "mine=misspelt#hook=blocks.1.hook_resid_post"])
def test_an_sae_that_is_not_there_is_told_of_before_anything_is_read(tmp_path, monkeypatch, spec):
    def loaded(*_: object) -> None:
        told.append("the data are read")
        raise SaebenchError("enough")

    told: list[str] = []
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(setup, "load_data", loaded)
    config = RunConfig(saes=(spec, "pico/of/some/repository"), hooks=("blocks.1.hook_resid_post",))
    with messages_to(told.append), pytest.raises(SaebenchError, match="enough"):
        next(setup.set_up(config))
    assert len(told) == 2
    name = "mine" if spec.startswith("mine") else "misspelt"
    assert told[0].startswith(f"{name}: no file or folder at")
    assert told[0].endswith("; the run goes on without it")
