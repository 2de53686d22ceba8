"""Names, near misses, owners, broken plugins, and a real plugin installed from a folder."""

import subprocess
import sys
import textwrap
import types

import pytest

from saebench_lite import registry
from saebench_lite.errors import SaebenchError


def test_built_ins_are_listed_by_file_name():
    assert {"reconstruction", "ce_delta", "sparse_probing", "concept_detection", "absorption"} <= set(
        registry.names("tasks")
    )
    assert {"diff_in_means", "logistic", "neurons", "pca", "random_topk"} <= set(registry.names("baselines"))
    assert {"native", "sae_lens"} <= set(registry.names("loaders"))
    assert {"bundled", "sae-probes", "axbench", "hf", "local"} <= set(registry.names("sources"))


def test_unknown_name_gets_near_misses():
    with pytest.raises(SaebenchError, match="no task is called 'absorbtion'; did you mean absorption"):
        registry.get("tasks", "absorbtion")
    with pytest.raises(SaebenchError, match="there are absorption, ce_delta"):
        registry.get("tasks", "zzzz")


@pytest.fixture
def plugin(monkeypatch):
    module = types.ModuleType("some_plugin")
    module.__dict__["TASKS"] = {"their_task": object()}
    monkeypatch.setitem(sys.modules, "some_plugin", module)
    monkeypatch.setattr(registry, "_plugins", {kind: [] for kind in registry.KINDS})
    return module


def test_plugin_by_module(plugin):
    registry.add_plugin("some_plugin")
    registry.add_plugin("some_plugin")  # twice is once
    assert registry.get("tasks", "their_task") is plugin.TASKS["their_task"]
    assert registry.owner("tasks", "their_task")[0] == "some_plugin"


def test_two_owners_of_a_name_are_both_named(plugin):
    plugin.TASKS["absorption"] = object()
    registry.add_plugin("some_plugin")
    with pytest.raises(SaebenchError, match="two tasks are called 'absorption', from saebench-lite and some_plugin"):
        registry.names("tasks")


def test_plugin_without_anything(plugin):
    plugin.TASKS.clear()
    with pytest.raises(SaebenchError, match="offers nothing"):
        registry.add_plugin("some_plugin")
    with pytest.raises(SaebenchError, match="cannot be imported: ModuleNotFoundError"):
        registry.add_plugin("no_such_module_anywhere")


PLUGIN = {
    "pyproject.toml": """
        [build-system]
        requires = ["setuptools"]
        build-backend = "setuptools.build_meta"
        [project]
        name = "token-counter"
        version = "0.3"
        [project.entry-points."saebench_lite.tasks"]
        token_count = "token_counter:TASK"
        broken_one = "token_counter.absent:TASK"
        [tool.setuptools]
        py-modules = ["token_counter"]
        """,
    "token_counter.py": '''
        """Counts tokens: the smallest task there is."""
        from dataclasses import dataclass
        from saebench_lite import Card, Metric, Scores, Task

        CARD = Card(name="token_count", version=1, claim="counts tokens", source="none", headline=("tokens",),
                    metrics=(Metric(name="tokens", meaning="tokens per text", better="neither"),), seeded=False)

        @dataclass(frozen=True)
        class Config:
            pass

        def prepare(ctx, cfg, seeds):
            return bench.acts(bench.data.texts[0])

        def evaluate(subject, ctx, acts, cfg, seeds):
            out = Scores()
            out.add("tokens", acts.tokens / len(acts), unit="all")
            return out

        TASK = Task(CARD, Config, prepare, evaluate)
        ''',
}


def test_installed_plugin_runs_and_a_broken_one_only_hurts_itself(tmp_path):
    """A distribution in a folder on the path: what `pip install --target` leaves behind, without the network."""
    source, site = tmp_path / "src", tmp_path / "site"
    source.mkdir()
    for name, text in PLUGIN.items():
        (source / name).write_text(textwrap.dedent(text).lstrip())
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    done = subprocess.run([*command, "--target", str(site), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    script = """
        from saebench_lite import registry, run
        assert "token_count" in registry.names("tasks"), registry.names("tasks")
        assert registry.owner("tasks", "token_count") == ("token-counter", "0.3")
        try:
            registry.get("tasks", "broken_one")
        except Exception as error:
            assert "token-counter 0.3 cannot be imported" in str(error), error
        site = {"model": "pico", "hook": "blocks.0.hook_resid_post"}
        records = run(**site, tasks=["token_count"], baselines=["neurons"], limit=2)
        assert records[0].status == "ok" and records[0].scores["tokens"].value > 5, records
        assert records[0].task.package_version == "0.3"
        """
    env = {**__import__("os").environ, "PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
