"""The command line as a user meets it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from saebench_lite import registry
from saebench_lite.bundled import sae_folders
from saebench_lite.cli import main
from saebench_lite.cli.run import parse_settings
from saebench_lite.records.record import read_all
from saebench_lite.runs.profiles import PROFILES


def call(*words: str, code: int = 0) -> Result:
    """In this process, which has torch already; `alone` sees what only a process of its own shows."""
    done = CliRunner().invoke(main.app, main.understood(words))
    assert done.exit_code == code, done.output
    return done


def alone(*words: str, code: int = 0) -> subprocess.CompletedProcess:
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
    done = alone("run", *specs, *words.split(), *settings.split(), "--out", str(out), "--cache", str(out / "cache"))
    return out, done


def test_show_lists_labels_and_top_texts(results):
    out, _ = results
    name = sae_folders()[0].name
    text = call("show", name, "sparse_probing", str(out), "--texts", "2").stdout
    table, texts = text.split("animals: latent ")
    record = next(r for r in read_all(out)[0] if (r.subject.name, r.task.name) == (name, "sparse_probing"))
    detectors = record.diagnostics["detector"]
    assert isinstance(detectors, dict)
    assert int(texts.split(",")[0]) in {v for k, v in detectors["animals"].items() if k.startswith("max")}
    assert "control: random_topk" in table
    assert max(map(len, texts.splitlines())) <= 100
    codes = [float(line.split()[0]) for line in texts.splitlines()[1:3]]
    assert codes == sorted(codes, reverse=True)
    assert codes[0] > 0
    other = str(sae_folders()[1])
    wrong = call("show", name, "sparse_probing", str(out), "--texts", "1", "--sae", other, code=2).stderr
    assert "has other weights than" in wrong
    wrong = call("show", name, "sparse_probing", str(out), "--texts", "1", "--limit", "1", code=2).stderr
    assert "is not that of the record" in wrong


def test_show_without_texts_loads_no_torch(results):
    words = [sae_folders()[0].name, "sparse_probing", str(results[0])]
    code = "import sys; from saebench_lite.cli.main import app\n"
    code += f"app(['show', *{words!r}], standalone_mode=False)\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "average_precision_max" in done.stdout


def test_run_prints_json_and_writes_tables(results):
    out, done = results
    rows = json.loads(done.stdout)
    assert {r["subject"] for r in rows} == {*(f.name for f in sae_folders()[:2]), "logistic", "random_topk"}
    assert all(r["status"] == "ok" for r in rows)
    assert done.stderr == ""
    assert (out / "leaderboard.md").read_text().startswith("### pico")
    assert len(list(out.glob("records/*/*/*.json"))) == 7


def test_run_yaml_repeats_the_run(results):
    """All records are found, nothing is computed; an option overrides the file."""
    out, _ = results
    text = (out / "run.yaml").read_text()
    assert f"out: {out}" in text
    assert "device" not in text  # nobody asked
    before = {p: p.stat().st_mtime_ns for p in out.glob("records/*/*/*.json")}
    assert "0 of 7 units to do" in repeat(out, "--dry-run")
    rows = json.loads(repeat(out, "--json", "--quiet"))
    assert len({(r["subject"], r["task"]) for r in rows}) == 7
    assert {p: p.stat().st_mtime_ns for p in out.glob("records/*/*/*.json")} == before
    assert (out / "run.yaml").read_text() == text
    assert "4 of 4 units to do" in repeat(out, "--tasks", "sparse_probing", "--seeds", "1", "--dry-run")
    said = CliRunner().invoke(main.app, ["run", "--config", str(out / "run.yaml")]).stderr
    assert f"7 of 7 records were in {out} already, nothing computed" in said


def repeat(out: Path, *words: str) -> str:
    """What a run from a folder's run.yaml prints."""
    done = CliRunner().invoke(main.app, ["run", "--config", str(out / "run.yaml"), *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_two_hooks_have_a_table_each_and_a_summary(tmp_path):
    words = "--hook blocks.1.hook_resid_post --hook blocks.2.hook_resid_post --tasks sparse_probing --limit 2 --seeds 1"
    words += " --baselines random_topk --set sparse_probing.ks=[1] --quiet"
    sae = sae_folders()[0]  # of the second hook, by its own metadata
    done = CliRunner().invoke(main.app, ["run", *words.split(), "--sae", str(sae), "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "leaderboard.md").read_text()
    assert text.count("### pico") == 2
    assert text.count("### All sites: sparse_probing") == 1
    assert text in done.stdout
    assert CliRunner().invoke(main.app, ["leaderboard", str(tmp_path)]).stdout == done.stdout
    (row,) = [line for line in text.split("### All sites")[1].splitlines() if line.startswith(f"| {sae.name}")]
    assert row.count("[") == 1
    hooks = "hooks:\n- blocks.1.hook_resid_post\n- blocks.2.hook_resid_post\n"
    assert hooks in (tmp_path / "run.yaml").read_text()


def test_debug_before_and_after_the_command_and_json_errors():
    for words in (["--debug", "describe", "recon"], ["describe", "recon", "--debug"]):
        done = alone(*words, code=1)
        assert "Traceback" in done.stderr
        assert "did you mean reconstruction" in done.stderr
    done = call("run", "--tasks", "nothing", "--json", code=2)
    assert "no task is called 'nothing'" in json.loads(done.stdout)["error"]
    assert done.stderr == ""
    done = CliRunner().invoke(main.app, ["run", "--set", "a.debug=--debug", "--seeds", "0"])
    assert (done.exit_code, done.output) == (2, "Error: seeds must be at least 1 or a list of seeds, not 0\n")


def test_messages_of_a_run_go_to_stderr(tmp_path):
    words = ["run", "--sae", "bad=/no/such/folder", "--tasks", "reconstruction", "--baselines", "none", "--limit", "1"]
    done = alone(*words, "--out", str(tmp_path), "--quiet", code=1)
    assert done.stderr.count("bad: no file or folder at '/no/such/folder'") == 1


def test_a_plan_in_which_something_would_fail_exits_with_1(tmp_path):
    words = ["run", "--sae", "bad=/no/such/folder", "--tasks", "reconstruction", "--baselines", "none", "--limit", "1"]
    done = alone(*words, "--out", str(tmp_path / "none"), "--dry-run", code=1)
    assert "fails  reconstruction bad " in done.stdout
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("form", ["md", "csv", "json", "latex"])
def test_leaderboard_needs_no_torch(results, form):
    out, _ = results
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None\n"
        f"sys.argv = ['x', 'leaderboard', {str(out)!r}, '--format', {form!r}, '--metrics', 'all']\n"
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
        (["run", "--model", "gpt2"], "hook is needed with model gpt2"),
        (["run", "--set", "x"], "write task.field=value"),
        (["run", "--data", "local:/no/file.csv"], "there is no file /no/file.csv"),
        (["run", "--data", "no-source"], "no source is called 'no-source'"),
        (["run", "--hook", "blocks.8.hook_resid_post"], "the model has 5 blocks"),
        (["leaderboard", "/no/folder"], "/no/folder holds no records (there is no such folder); give"),
        (["describe", "recon"], "did you mean reconstruction"),
        (["describe", "saebench-0.5"], "nothing is called 'saebench-0.5'; did you mean saebench-0.6"),
        (["describe", "xyzzyxyzzy"], "nothing is called 'xyzzyxyzzy'; saebench-lite list shows what there is"),
        (["list", "things"], "'things' cannot be listed"),
        (["data", "pull", "bundled"], "has nothing to pull"),
        (["run", "--memory", "1e300", "--dry-run"], "memory is 1e+300; give 1,048,576 GiB at most"),
        (["audit", "--jobs", "0"], "jobs is 0; give a whole number, 1 at least"),
        (["audit", "--limit", "-1"], "limit is -1; give a whole number, 1 at least"),
        (["audit", "--steps", "9" * 30], "steps is 999999999999999999999999999999; give less than 2^63"),
        (["audit", "--seeds", "99999"], "seeds is 99999; give 10,000 at most"),
        (["fine-tune", "sae", "--out", "no/such", "--rank", "0"], "rank is 0; give a whole number, 1 at least"),
        (["fine-tune", "sae", "--out", "no/such", "--lr", "nan"], "lr is nan; give a number above 0"),
        (["run", "--baselines", "none,logistic"], "baselines is 'none,logistic', none and others; give none alone"),
        (["run", "--out", str(Path(__file__)), "--dry-run"], "test_cli.py' cannot be written to"),
        (["run", "--devices", "nosuch", "--dry-run"], "device 'nosuch' is not known; use auto, cpu or cuda"),
        (["baseline", "save", "x", "--to", "bl", "--name", ""], "--name '' is no name of a folder"),
        (["check", "--against", "old", "new"], "the folder under test is missing; --against takes all that follow it"),
        (["check", "--against", "old", "new"], "(old, new), so give that folder first: check NEW --against OLD"),
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
    assert "  auroc_k1_max (higher, 0 to 1, chance 0.5, recovery, on request)" not in text  # told with its like
    (line,) = [line for line in text.splitlines() if line.startswith("  auroc_k*_max (higher")]
    assert "a probe on * latents" in line
    assert line.endswith("; *: 1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 128, 256, 512")
    assert len(text.splitlines()) < 100
    first = [line.split(":")[0].strip() for line in text.split("metrics:\n")[1].splitlines()[:4]]
    assert [(line.split()[0], line.split(", ")[-1]) for line in first] == [
        ("average_precision_max", "headline)"),
        ("average_precision_mean", "headline)"),
        ("auroc_k1_mean", "beside the headline)"),
        ("accuracy_k5_mean", "beside the headline)"),
    ]
    rows = {(r["task"], r["metric"]): r["standing"] for r in json.loads(call("list", "metrics", "--json").stdout)}
    assert [rows["reconstruction", m] for m in ("explained_variance", "l0", "dead_fraction")] == [
        "headline", "beside the headline", ""
    ]  # fmt: skip
    assert "table 1" in call("describe", "diff_in_means").stdout


def test_profiles_and_bundled_saes_are_listed_and_described():
    everything = call("list").stdout
    for kind, names in (("profiles", list(PROFILES)), ("saes", [folder.name for folder in sae_folders()])):
        rows = json.loads(call("list", kind, "--json").stdout)
        assert [row["name"] for row in rows] == names
        assert all(name in everything for name in names)
    text = call("describe", "saebench-0.6").stdout
    assert "arXiv:2503.09532" in text
    assert all(f"{task}." in text for task in PROFILES["saebench-0.6"].settings)
    assert (
        "blocks.2.hook_resid_post of pico: L0 8, explained variance 0.841" in call("describe", "topk_1024_l0_8").stdout
    )
    pico = call("describe", "pico").stdout
    assert "1,590,656 parameters" in pico
    assert "topk_1024_l0_8" in pico


@pytest.mark.parametrize(
    "code",
    [
        "import saebench_lite; saebench_lite.RunConfig",
        "sys.argv = ['x', '--help']; main()",
        "sys.argv = ['x', 'run', '--help']; main()",
        "sys.argv = ['x', 'audit', '--help']; main()",
    ],
)
def test_import_and_help_are_light(code):
    """No torch, and less than half a second of this process's own time, the interpreter included."""
    script = "import atexit, resource, sys\n"
    script += "def main():\n    from saebench_lite.cli.main import main\n    main()\n"
    script += (
        "@atexit.register\ndef show():\n    heavy = {'torch', 'pandas', 'transformers', 'numpy'} & set(sys.modules)\n"
    )
    script += "    spent = resource.getrusage(resource.RUSAGE_SELF)\n"
    script += "    print(heavy or 'light', spent.ru_utime + spent.ru_stime, file=sys.stderr)\n"
    done = subprocess.run([sys.executable, "-c", script + code], capture_output=True, text=True)
    word, seconds = done.stderr.split()
    assert word == "light"
    assert float(seconds) < 0.5


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

    monkeypatch.setattr(runner, "execute", interrupt)
    done = CliRunner().invoke(main.app, ["run"])
    assert done.exit_code == 130
    assert "finished records are kept" in done.output


def test_the_folder_of_commands_runs_as_the_package_does():
    both = [
        subprocess.run([sys.executable, "-m", name, "list", "tasks"], capture_output=True, text=True)
        for name in ("saebench_lite", "saebench_lite.cli")
    ]
    assert [done.returncode for done in both] == [0, 0]
    assert both[0].stdout == both[1].stdout
