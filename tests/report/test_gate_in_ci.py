"""The gate in continuous integration: the GitHub action's script, the workflow, the pytest fixture, saved baselines."""

import dataclasses
import importlib.metadata
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from saebench_lite.cli.main import app
from saebench_lite.records.record import read_all
from saebench_lite.records.types import Kind
from tests.helpers.record_factory import made_up, provenance

pytest_plugins = ["pytester"]
ROOT = Path(__file__).resolve().parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
UNIT = np.random.default_rng(0).normal(0.7, 0.1, size=(20, 1))
PLUGIN = "saebench_lite.report.pytest_plugin"


def results(folder: Path, drop: float = 0.0, name: str = "a", kind: Kind = "sae", **other) -> Path:
    given = {"seeds": (), "date": "2025-01-01T00:00:00Z", "diagnostics": {"long": ["x"] * 500}} | other
    made_up(name, {"auroc": UNIT - drop * (1 + UNIT)}, kind=kind, **given).save(folder)
    return folder


@pytest.fixture
def action(tmp_path):
    """Runs the action's step with inputs as the runner would: (exit status, outputs, summary, log)."""
    (step,) = ACTION["runs"]["steps"]
    program = tmp_path / "bin" / "saebench-lite"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m saebench_lite "$@"\n')
    program.chmod(0o755)
    script = tmp_path / "step.sh"
    script.write_text(step["run"])

    def run(**inputs: str):
        given = {name: about.get("default", "") for name, about in ACTION["inputs"].items()} | inputs
        env = {k: given[v[len("${{ inputs.") : -len(" }}")]] for k, v in step["env"].items() if "inputs." in v}
        files = {k: tmp_path / k.lower() for k in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for file in files.values():
            file.write_text("")
        env |= {k: str(v) for k, v in files.items()} | {"PATH": f"{program.parent}:{os.environ['PATH']}"}
        words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
        env = os.environ | {"PYTHONPATH": str(ROOT)} | env
        done = subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True)
        lines = files["GITHUB_OUTPUT"].read_text().splitlines()
        outputs = dict(line.split("=", 1) for line in lines)
        return done.returncode, outputs, files["GITHUB_STEP_SUMMARY"].read_text(), done.stdout + done.stderr

    return run


def test_the_action_says_what_its_step_reads_and_gives():
    (step,) = ACTION["runs"]["steps"]
    assert "${{" not in step["run"]  # inputs are never part of the script's text
    read = {v[len("${{ inputs.") : -len(" }}")] for v in step["env"].values() if "inputs." in v}
    assert read == set(ACTION["inputs"]) == {"new", "against", "allow", "strict", "report"}
    assert all(f"{name}=" in step["run"] for name in ACTION["outputs"])


def test_the_actions_step(action, tmp_path):
    results(tmp_path / "old runs" / "one")
    results(tmp_path / "new", drop=0.1)
    status, outputs, summary, log = action(new="new", against="old runs/*\n")
    assert (status, outputs["status"]) == (1, "1"), log
    assert outputs["verdict"] == "1 regression beyond noise in 1 comparisons"
    assert summary.startswith("## 1 regression")
    assert "worse" in log
    names = {p.name for p in (tmp_path / outputs["report"]).iterdir()}
    assert names == {"summary.md", "junit.xml", "bigger.json", "smaller.json", "check.txt"}
    assert action(new="new", against="old runs/one", allow="0.5", report="other")[:2] == (
        0, {"status": "0", "verdict": "No regression beyond noise in 1 comparisons", "report": "other"}
    )  # fmt: skip
    lines = "0.001\n\nauroc=0.5\n"  # of one metric, over that for all
    assert action(new="new", against="old runs/one", allow=lines)[0] == 0
    assert action(new="new", against="old runs/one", allow="0.001")[0] == 1
    assert "--allow names 'auorc'" in action(new="new", against="old runs/one", allow="auorc=0.5")[3]
    assert action(new="none", against="old runs/one")[0] == 2
    assert action(new="new", against="old runs/one", strict="true")[0] == 1


def test_no_name_is_a_command_of_the_runner_or_of_the_shell(action, tmp_path):
    odd = "::error::$(touch owned)`touch owned`"
    results(tmp_path / "old", name=odd)
    results(tmp_path / "new", drop=0.1, name=odd)
    assert action(new="new", against="old; touch owned")[0] == 2
    status, outputs, _, log = action(new="new", against="old")
    assert status == 1, log
    assert not (tmp_path / "owned").exists()
    lines = log.splitlines()
    token = lines[0].removeprefix("::stop-commands::")
    assert len(token) == 32
    assert lines[-1] == f"::{token}::"
    assert set(outputs) == {"status", "verdict", "report"}


def test_the_workflow_passes_inputs_that_the_action_has():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "check.yml").read_text())
    asked = workflow[True]["workflow_call"]["inputs"]  # YAML reads the key `on` as true
    (step,) = [s for s in workflow["jobs"]["check"]["steps"] if s.get("id") == "check"]
    assert set(step["with"]) <= set(ACTION["inputs"])
    assert {v[len("${{ inputs.") : -len(" }}")] for v in step["with"].values()} <= set(asked)
    assert not any("run" in s for s in workflow["jobs"]["check"]["steps"])


def test_the_fixture_fails_a_test_with_the_verdict(pytester):
    results(pytester.path / "old")
    results(pytester.path / "worse", drop=0.1)
    pytester.makepyfile(
        """
        def test_passes(saebench_gate):
            assert saebench_gate("old", "old").status() == 0

        def test_allowed(saebench_gate):
            saebench_gate("worse", ["old"], allow=0.5)
            saebench_gate("worse", ["old"], allow={"auroc": 0.5})

        def test_worse(saebench_gate):
            saebench_gate("worse", ["old"])

        def test_missing(saebench_gate):
            saebench_gate("none", "old")
        """
    )
    known = [e.value for e in importlib.metadata.entry_points(group="pytest11")]
    words = [] if PLUGIN in known else ["-p", PLUGIN]
    done = pytester.runpytest(*words, "-p", "no:cacheprovider")
    done.assert_outcomes(passed=2, failed=2)
    done.stdout.fnmatch_lines(["1 regression beyond noise in 1 comparisons", "*none holds no records*"])


def test_the_plugin_is_declared_and_light():
    assert f'saebench_lite = "{PLUGIN}"' in (ROOT / "pyproject.toml").read_text().split("pytest11]")[1]
    code = f"import sys, {PLUGIN}; print([m for m in ('torch', 'numpy', 'typer') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def save(*words: object):
    return CliRunner().invoke(app, ["baseline", "save", *map(str, words)])


def test_a_saved_baseline_is_small_and_judges_as_the_run_does(tmp_path):
    run = results(results(results(tmp_path / "run"), name="b"), name="random", kind="control")
    done = save(run, "--to", tmp_path / "kept")
    copy = tmp_path / "kept" / "run"
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"{copy}: 2 records, ")
    assert done.output.endswith(" KiB\n")
    records, damaged = read_all(copy)
    assert (damaged, {r.subject.name for r in records}) == ([], {"a", "b"})
    assert all(r.diagnostics == {} and r.provenance is not None for r in records)
    sizes = [sum(p.stat().st_size for p in f.rglob("*.json")) for f in (run, copy)]
    assert sizes[1] < sizes[0] / 2
    new = results(results(tmp_path / "new", drop=0.1), name="b")
    outputs = [CliRunner().invoke(app, ["check", str(new), "--against", str(f), "--all"]).output for f in (run, copy)]
    assert outputs[0] == outputs[1]
    assert "already; delete them or give another --name" in save(run, "--to", tmp_path / "kept").output
    assert save(run, "--to", tmp_path / "kept", "--name", "seed-1").exit_code == 0
    assert "is no name of a folder" in save(run, "--to", tmp_path / "kept", "--name", "../x").output


def test_what_no_check_should_rest_on_is_refused(tmp_path):
    failed = results(results(tmp_path / "failed"), name="b", status="failed")
    dirty = dataclasses.replace(made_up("a", {"auroc": UNIT}, seeds=()), provenance=provenance(code="0" * 40 + "+"))
    dirty.save(tmp_path / "dirty")
    results(tmp_path / "controls", kind="control")
    damaged = results(tmp_path / "damaged")
    next((damaged / "records").rglob("*.json")).write_text("{")
    for name, sentence in {
        failed.name: "b: sparse_probing failed (it broke); run it again",
        "dirty": "was scored by edited code (commit 0000000000000000000000000000000000000000+); commit the change",
        "controls": "holds no scores of SAEs",
        "damaged": "is not a record",
        "missing": "holds no scores of SAEs",
    }.items():
        done = save(tmp_path / name, "--to", tmp_path / "kept")
        assert done.exit_code == 2
        assert sentence in " ".join(done.output.split()), done.output
        assert done.output.count("\n") == 1
    assert not list((tmp_path / "kept").rglob("*.json"))


def test_the_fixture_asks_for_no_package_of_an_extra(tmp_path):
    """Nor for those that models need; also where it has a verdict to tell."""
    results(tmp_path / "old")
    results(tmp_path / "worse", drop=0.1)
    extras = {"accelerate", "datasets", "gguf", "matplotlib", "pyarrow", "ray", "sklearn", "xgboost", "zstandard"}
    absent = sorted(extras | {"torch", "transformers", "typer", "rich"})
    code = f"""
        import sys
        sys.modules.update(dict.fromkeys({absent}))
        from {PLUGIN} import gate
        assert gate("old", "old", allow={{"auroc": 0.1}}).status() == 0
        try:
            gate("worse", "old")
        except BaseException as failed:  # pytest's own
            print(str(failed).splitlines()[0])
        """
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.stdout == "1 regression beyond noise in 1 comparisons\n", done.stderr
