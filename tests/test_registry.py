"""Names, near misses, owners, broken plugins, and a real plugin installed from a folder."""

import subprocess
import sys
import textwrap
import types

import pytest

from saebench_lite import registry
from saebench_lite.api import registered
from saebench_lite.api.card import Card
from saebench_lite.errors import SaebenchError
from saebench_lite.records.metric import Metric


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
    with pytest.raises(SaebenchError, match=r"there are absorption, afa, autointerp, causal_effect, ce_delta"):
        registry.get("tasks", "zzzz")


@pytest.fixture
def plugin(monkeypatch):
    """A module that offers a task; what the test registers is gone after it."""
    module = types.ModuleType("some_plugin")
    module.__dict__["TASKS"] = {"their_task": object()}
    monkeypatch.setitem(sys.modules, "some_plugin", module)
    with registry.only_within():
        yield module


def test_plugin_by_module(plugin):
    registry.add_plugin("some_plugin")
    registry.add_plugin("some_plugin")  # twice is once
    assert registry.get("tasks", "their_task") is plugin.TASKS["their_task"]
    assert registry.owner("tasks", "their_task")[0] == "some_plugin"


def test_a_file_is_no_module():
    with pytest.raises(SaebenchError, match=r"plugin '\./mine\.py' cannot be imported: .*; give the name of a module"):
        registry.add_plugin("./mine.py")


def test_two_owners_of_a_name_are_both_named(plugin):
    plugin.TASKS["absorption"] = object()
    registry.add_plugin("some_plugin")
    with pytest.raises(SaebenchError, match="two tasks are called 'absorption', from saebench-lite and some_plugin"):
        registry.get("tasks", "absorption")
    assert "absorption" in registry.names("tasks")
    assert "absorption" not in registry.get_all("tasks")
    assert registry.get("tasks", "reconstruction").card.name == "reconstruction"  # other names are not concerned


def test_what_is_installed_is_looked_up_once(plugin, monkeypatch):
    looked: list[str] = []
    real = registry.metadata.entry_points
    monkeypatch.setattr(registry.metadata, "entry_points", lambda **k: looked.append(k["group"]) or real(**k))
    registry.add_plugin("some_plugin")
    for _ in range(3):
        assert "their_task" in registry.names("tasks")
        registry.owner("tasks", "reconstruction")
    assert looked == ["saebench_lite.tasks"]
    registry.add_plugin("some_plugin")
    assert "their_task" in registry.names("tasks")
    assert looked == ["saebench_lite.tasks"] * 2


def test_typed_getters_say_what_is_no_task(plugin):
    registry.add_plugin("some_plugin")
    with pytest.raises(SaebenchError, match="task 'their_task' of some_plugin is an object; a Task is needed"):
        registered.task("their_task")
    assert "their_task" not in registered.tasks()
    assert registered.baseline("pca").name == "pca"
    assert registered.source("bundled").description


def test_plugins_of_a_block_are_gone_after_it(plugin):
    with registry.only_within():
        registry.add_plugin("some_plugin")
        assert "their_task" in registry.names("tasks")
    assert "their_task" not in registry.names("tasks")


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

        CARD = Card(name="token_count", version=1, description="counts tokens", source="none", headline=("tokens",),
                    metrics=(Metric(name="tokens", meaning="tokens per text", better="neither"),), seeded=False)

        @dataclass(frozen=True)
        class Config:
            pass

        def prepare(ctx, cfg, seeds):
            return ctx.acts(ctx.data.texts[0])

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
        assert "broken_one" not in registry.get_all("tasks") and "token_count" in registry.get_all("tasks")
        site = {"model": "pico", "hook": "blocks.0.hook_resid_post"}
        records = run(**site, tasks=["token_count"], baselines=["neurons"], limit=2)
        assert records[0].status == "ok" and records[0].scores["tokens"].value > 5, records
        assert records[0].task.package_version == "0.3"
        """
    env = {**__import__("os").environ, "PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr


def test_a_card_names_each_metric_shown_once_and_declares_it():
    metric = Metric(name="share", meaning="a share", better="higher")
    about = {"name": "t", "version": 1, "description": "d", "source": "s", "metrics": (metric,)}
    with pytest.raises(SaebenchError, match=r"has headline metrics that are beside too: \['share'\]; name them once"):
        Card(**about, headline=("share",), beside=("share",))
    with pytest.raises(SaebenchError, match=r"has beside metrics it does not declare: \['other'\]"):
        Card(**about, headline=("share",), beside=("other",))
    assert Card(**about, headline=(), beside=("share",)).shown == ("share",)
