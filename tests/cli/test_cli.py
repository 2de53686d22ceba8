"""The command line as a user meets it."""

import json
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from saebench_lite import registry
from saebench_lite.bundled import sae_folders
from saebench_lite.cli import main
from saebench_lite.cli.run import parse_settings


def call(*words: str, code: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run([sys.executable, "-m", "saebench_lite", *words], capture_output=True, text=True)
    assert done.returncode == code, done.stderr + done.stdout
    return done


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A quick run: two SAEs, two baselines, two tasks."""
    out = tmp_path_factory.mktemp("results")
    specs = [x for folder in sae_folders()[:2] for x in ("--sae", str(folder))]
    words = "--tasks sparse_probing,reconstruction --baselines logistic,random_topk --limit 2 --seeds 2 --json --quiet"
    settings = "--set sparse_probing.ks=[1,5] --set reconstruction.max_tokens=2000"
    done = call("run", *specs, *words.split(), *settings.split(), "--out", str(out), "--cache", str(out / "cache"))
    return out, done


def test_run_prints_json_and_writes_tables(results):
    out, done = results
    rows = json.loads(done.stdout)
    assert {r["subject"] for r in rows} == {*(f.name for f in sae_folders()[:2]), "logistic", "random_topk"}
    assert all(r["status"] == "ok" for r in rows)
    assert done.stderr == ""
    assert (out / "leaderboard.md").read_text().startswith("### pico")
    assert len(list(out.glob("records/*/*/*.json"))) == 7


@pytest.mark.parametrize("form", ["md", "csv", "json", "latex"])
def test_leaderboard_needs_no_torch(results, form):
    out, _ = results
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None\n"
        f"sys.argv = ['x', 'leaderboard', {str(out)!r}, '--format', {form!r}, '--all-metrics']\n"
        "from saebench_lite.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "auroc_k5_last" in done.stdout.replace("\\_", "_")
    assert "logistic" in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "--tasks", "nothing"], "no task is called 'nothing'"),
        (["run", "--model", "gpt2"], "--hook is needed with --model gpt2"),
        (["run", "--set", "x"], "write task.field=value"),
        (["run", "--data", "local:/no/file.csv"], "there is no file /no/file.csv"),
        (["run", "--data", "no-source"], "no source is called 'no-source'"),
        (["run", "--hook", "blocks.8.hook_resid_post"], "the model has 5 blocks"),
        (["leaderboard", "/no/folder"], "/no/folder holds no records"),
        (["describe", "recon"], "did you mean reconstruction"),
        (["list", "things"], "'things' cannot be listed"),
        (["data", "pull", "bundled"], "has nothing to pull"),
    ],
)
def test_bad_input_is_one_sentence_without_a_traceback(words, sentence):
    done = call(*words, code=2)
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_list_and_describe():
    listing = call("list").stdout
    for name in ("absorption", "logistic", "native", "sae-probes"):
        assert name in listing
    assert "auroc_k1_mean" in call("list", "metrics").stdout
    assert json.loads(call("list", "tasks", "--json").stdout)[0]["kind"] == "task"
    text = call("describe", "sparse_probing").stdout
    assert "arXiv:2502.16681" in text
    assert "sparse_probing.dedupe = True" in text
    assert "table 1" in call("describe", "diff_in_means").stdout


def test_import_and_help_are_light():
    code = "import sys, saebench_lite; assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    code = "import sys; sys.argv = ['x', '--help']\nfrom saebench_lite.cli import main\n"
    code += "try: main.main()\nexcept SystemExit: pass\n"
    code += "assert 'torch' not in sys.modules and 'pandas' not in sys.modules, 'heavy'"
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    print(f"--help took {time.perf_counter() - started:.2f} s")


def test_settings_are_json_or_text():
    assert parse_settings(["a.x=[1, 2]", "a.y=text", "b.z=false"]) == {
        "a": {"x": (1, 2), "y": "text"}, "b": {"z": False}
    }  # fmt: skip


def test_plugin_module(tmp_path, monkeypatch):
    (tmp_path / "my_plugin.py").write_text(
        "from saebench_lite.data.types import Data, Source\n"
        "SOURCES = {'mine': Source(description='c', load=lambda w, n: Data('d'))}\n"
    )
    monkeypatch.chdir(tmp_path)
    with registry.only_within():
        done = CliRunner().invoke(main.app, ["list", "sources", "--plugin", "my_plugin"])
    assert "mine" in done.output


def test_ctrl_c_ends_with_a_sentence(monkeypatch):
    from saebench_lite.runs import runner

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run", interrupt)
    done = CliRunner().invoke(main.app, ["run"])
    assert done.exit_code == 130
    assert "finished records are kept" in done.output
