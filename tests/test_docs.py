"""What the documentation shows is run; every command, option, module and path that it names exists.

`python -m tests.test_docs` writes the generated tables of docs/architecture.md.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from typer.main import get_command

from saebench_lite import registry
from saebench_lite.bundled import sae_folders
from saebench_lite.cli.main import app, understood
from saebench_lite.records.types import Kind
from saebench_lite.runs.config import RunConfig
from saebench_lite.version import __version__
from tests.helpers.record_factory import made_up
from tests.test_rooms import PACKAGE, arrows, floors

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += [ROOT / "results" / "README.md", ROOT / "tests" / "experiments" / "README.md"]
WALKED = [ROOT / "docs" / f"writing-a-{what}.md" for what in ("task", "loader", "baseline")]
FENCE = re.compile(r"^( *)```(\w*)(?: title=(\S+))?\n(.*?)^ *```$", re.S | re.M)
ROOMS = re.compile(r"(<!-- rooms -->\n)(.*?)(<!-- /rooms -->)", re.S)


class Block(NamedTuple):
    """A fenced block of a page; `title` is the file that the reader is told to save it as."""

    language: str
    title: str | None
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(language, title or None, text) for _, language, title, text in FENCE.findall(page.read_text())]


def commands(text: str) -> list[str]:
    """Lines of a block, continued ones joined, comments left out."""
    joined = re.sub(r"\\\n\s*", "", text)
    return [line.strip() for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def inline(page: Path) -> list[str]:
    """Commands in running text; those with a choice (a|b) or an ellipsis are patterns and stand for no one command."""
    found = re.findall(r"`((?:saebench-lite|python -m) [^`]+)`", FENCE.sub("", page.read_text()))
    return [" ".join(c.split()) for c in found if not re.search(r"\.\.\.|\||\[[A-Za-z]", c)]


def documented(start: str) -> list[tuple[str, str, bool]]:
    """(page, command, whether it is whole) of every documented command that begins with `start`."""
    out = set()
    for page in PAGES:
        lines = {line: True for block in blocks(page) for line in commands(block.text)}
        lines |= {line: False for line in inline(page) if line not in lines}
        for line, whole in lines.items():
            if at := re.search(rf"(?:^|[\s/]){re.escape(start)}\s", line + " "):
                out.add((str(page.relative_to(ROOT)), line[at.start() :].strip().lstrip("/"), whole))
    return sorted(out)


def parse(words: list[str]) -> None:
    """Parses words after `saebench-lite` and runs nothing; the parser's exception for what does not exist."""
    command = get_command(app)
    waiting = [command]
    while waiting:
        each = waiting.pop()
        each.callback = None
        waiting += getattr(each, "commands", {}).values()
    command.main(understood(words), prog_name="saebench-lite", standalone_mode=False)


@pytest.mark.parametrize(("page", "line", "whole"), documented("saebench-lite"))
def test_documented_commands_and_options_exist(page: str, line: str, whole: bool):
    """Running text may name a command without its argument, or an option without its value."""
    words = shlex.split(re.split(r"&&|;|\s>", line)[0], comments=True)[1:]
    try:
        parse([word for word in words if word != ".."])
    except Exception as error:
        if whole or not re.search("requires an argument|Missing (argument|parameter)", str(error)):
            pytest.fail(f"{page}: {line}: {error}")


def unquoted(line: str) -> str:
    """Signs in a command that a shell such as zsh takes for a pattern, or for the end of the command."""
    bare = re.sub(r"'[^']*'|\"[^\"]*\"|\\.", "", line)
    return "".join(re.findall(r"[][*?&]", bare.replace("&&", "")))


def test_patterns_in_documented_commands_are_quoted():
    """zsh refuses a pattern that matches nothing; unquoted ones here are of folders that are in the repository."""
    found = {line for start in ("saebench-lite", "python", "pip") for _, line, _ in documented(start)}
    assert len(found) > 100
    loose = sorted(line for line in found if unquoted(line) and not re.search(r"--against baselines/\*|doses/\*", line))
    assert loose == []
    assert unquoted("run --data local:a.csv?text=b&label=c x[y] '*'") == "?&[]"


@pytest.mark.parametrize("line", ["run --modle pico", "lsit", "leaderboard x --format", "--verbos list", "data pul x"])
def test_an_option_that_does_not_exist_is_caught(line: str):
    with pytest.raises(Exception, match=r"No such|requires an argument"):
        parse(line.split())


@pytest.mark.parametrize(("page", "line", "whole"), documented("python -m"))
def test_documented_modules_can_be_run(page: str, line: str, whole: bool):
    module = line.split()[2]
    if module in ("pytest", "venv"):
        return
    found = importlib.util.find_spec(module)
    assert found is not None, f"{page}: {line}"
    if found.submodule_search_locations is not None:
        assert importlib.util.find_spec(f"{module}.__main__"), f"{page}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_links_and_paths_exist(page: Path):
    text = page.read_text()
    for name in re.findall(r"\bsaebench_lite\.[\w.]*\w", text):
        assert exists(name), f"{page.name} names {name}"
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
    for path in re.findall(r"`([\w/]+/[\w.]*)`", text):
        known = path.split("/")[0] in (*arrows(), *(p.name for p in ROOT.iterdir()))
        if known and not re.search(r"NAME|class_overlap|toy", path):
            assert any((place / path).exists() for place in (ROOT, PACKAGE, page.parent)), f"{page.name} names {path}"
    for name in re.findall(r"`(test_\w+\.py)`", text):
        if page not in WALKED:
            assert list((ROOT / "tests").rglob(name)), f"{page.name} names {name}"


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one; entry-point groups are named after rooms."""
    try:
        importlib.import_module(name)
    except ImportError:
        module, _, attribute = name.rpartition(".")
        return bool(module) and hasattr(importlib.import_module(module), attribute)
    return True


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of a newcomer: this checkout installed, an empty folder, `python` and `saebench-lite` on the path."""
    scripts = tmp_path / "bin"
    scripts.mkdir()
    for name, words in (("python", ""), ("saebench-lite", "-m saebench_lite")):
        (scripts / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (scripts / name).chmod(0o755)
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    alone = {"HF_HUB_OFFLINE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **alone}


def walk(page: Path, folder: Path, env: dict[str, str]) -> dict[str, str]:
    """Saves the files of a page and runs its commands in order; command -> what it printed."""
    folder.mkdir()
    out: dict[str, str] = {}
    for block in blocks(page):
        if block.title:
            (folder / block.title).write_text(block.text)
        elif not block.language:
            for line in commands(block.text):
                done = subprocess.run(line, shell=True, cwd=folder, env=env, capture_output=True, text=True)
                assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
                out[line] = done.stdout
    tests = [b.title for b in blocks(page) if b.title and b.title.startswith("test_")]
    assert tests
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return out


def test_a_task_written_from_its_page(tmp_path: Path, environment: dict[str, str]):
    out = walk(WALKED[0], tmp_path / "walk", environment)
    listed, described, ran, shown, world = out.values()
    assert "how far the two classes" in next(line for line in listed.splitlines() if "class_overlap" in line)
    assert all(part in described for part in ("sum_j min(p_j, q_j)", "Source:", "overlap (lower", "max_texts = 100"))
    for table in (ran, shown):
        assert "class_overlap overlap ↓" in table
        rows = [line for line in table.splitlines() if line.startswith("|")]
        assert {f.name for f in sae_folders()} <= {row.split("|")[1].strip() for row in rows}
    subjects = [line.split("|")[1].strip() for line in world.splitlines() if line.startswith("|")]
    assert subjects.index("oracle (o)") < subjects.index("random_topk (c)")


def test_a_loader_written_from_its_page(tmp_path: Path, environment: dict[str, str]):
    out = walk(WALKED[1], tmp_path / "walk", environment)
    _, listed, by_path, by_name, ran = out.values()
    assert "toy folders" in next(line for line in listed.splitlines() if " toy " in line)
    for text in (by_path, by_name):
        assert "toy" in text
        assert "l0 32," in text  # the measured L0
    assert "my_sae" in ran


def test_a_baseline_and_a_source_written_from_their_page(tmp_path: Path, environment: dict[str, str]):
    listed, ran = walk(WALKED[2], tmp_path / "walk", environment).values()
    for name in ("centroid", "rotation", "scrambled", "animals"):
        assert any(f" {name} " in line for line in listed.splitlines()), name
    for name in ("centroid", "rotation", "scrambled of"):
        assert f"| {name}" in ran, name


def test_python_of_the_page_on_ones_own_sae_runs(sae: object):
    (code,) = [b.text for b in blocks(ROOT / "docs" / "your-sae.md") if b.language == "python"]
    small = code.replace('model="gpt2", hook="blocks.8.hook_resid_pre"', 'model="pico", hook="h", limit=1')
    assert small != code
    exec(compile(small.replace('"h"', '"blocks.2.hook_resid_post"'), "your-sae.md", "exec"), {"my_sae": sae})


def test_python_of_the_page_on_exports_logs_each_sae(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In place of Weights & Biases something that keeps what it is given."""
    kinds: dict[str, Kind] = {"a": "sae", "b": "sae", "pca": "dictionary baseline"}
    for name, kind in kinds.items():
        made_up(name, {"auroc": np.full((3, 1), 0.5)}, seeds=(1,), kind=kind).save(tmp_path)
    logged: dict[str, dict[str, object]] = {}

    def init(name: str, **_: object) -> types.SimpleNamespace:
        return types.SimpleNamespace(summary=logged.setdefault(name, {}), finish=lambda: None)

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    (code,) = [b.text for b in blocks(ROOT / "docs" / "exports.md") if b.language == "python"]
    exec(compile(code.replace("results/pico", str(tmp_path)), "exports.md", "exec"), {})
    assert sorted(logged) == ["a", "b"]
    assert logged["a"]["sparse_probing/auroc"] == 0.5
    assert "sparse_probing/auroc/low" in logged["b"]


def test_configurations_on_the_page_are_read(tmp_path: Path):
    found = [b.text for b in blocks(ROOT / "docs" / "your-sae.md") if b.language == "yaml"]
    assert found
    for text in found:
        (tmp_path / "run.yaml").write_text(text)
        RunConfig.from_file(tmp_path / "run.yaml")


@pytest.mark.parametrize(("page", "kind"), [("docs/loaders.md", "loaders"), ("docs/tasks.md", "tasks")])
def test_pages_list_what_is_registered(page: str, kind: registry.Kind):
    text = (ROOT / page).read_text()
    hidden = {"truth", "rival_scores", "former_ranking"}  # of worlds and of audits; described in docs/worlds.md
    assert [name for name in registry.names(kind) if name not in hidden and f"| `{name}`" not in text] == []


def release(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / ".ci" / "release", *words], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "'' is no version"),
        (("1.x",), "'1.x' is no version"),
        (("99.0.0", "--dry-run"), f"version.py says {__version__}, not 99.0.0"),
        ((__version__, "--dryrun"), "no option --dryrun"),
    ],
)
def test_a_release_of_another_version_stops_before_anything_is_done(words: tuple[str, ...], sentence: str):
    done = release(*words)
    assert done.returncode == 1
    assert sentence in done.stderr


def test_the_version_stands_in_the_citation_and_the_changelog():
    assert f"version: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_changelog_has_three_kinds_of_entry_and_no_gaps():
    text = (ROOT / "CHANGELOG.md").read_text()
    unreleased = text.split("\n## ")[1]
    assert re.findall(r"^### (.*)$", unreleased, re.M) == ["Added", "Scores that moved", "Fixed"]
    assert not re.search(r"^[- ].*\n\n+[- ]", text, re.M), "a blank line within a list"


def rooms() -> str:
    """The table of rooms, from their `__init__` docstrings; lowest floor first."""
    height = floors(arrows())
    lines = ["| floor | room | what lies there | may import |", "|---|---|---|---|"]
    for name in sorted((n for n in arrows() if (PACKAGE / n).is_dir()), key=lambda n: (height[n], n)):
        doc = ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text())) or ""
        rule = re.search(r"May import: ([^.]*)\.", doc)
        assert rule
        what = " ".join(doc.split("\n\n")[0].split())
        lines.append(f"| {height[name]} | `{name}/` | {what} | {' '.join(rule[1].split())} |")
    return "\n".join(lines) + "\n"


def updated(text: str) -> str:
    """The architecture page with its table rebuilt from the tree."""
    return ROOMS.sub(lambda m: m[1] + rooms() + m[3], text)


def test_architecture_page_is_that_of_the_tree():
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert ROOMS.search(text)
    assert updated(text) == text, "run python -m tests.test_docs"


if __name__ == "__main__":
    page = ROOT / "docs" / "architecture.md"
    page.write_text(updated(page.read_text()))
