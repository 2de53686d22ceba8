"""The documentation site: every page and every registered thing is on it, and the builder finds no broken link."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from saebench_lite import registry

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def named(nav: object) -> list[str]:
    """Pages of a navigation tree."""
    if isinstance(nav, str):
        return [nav]
    children = nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else []
    return [page for child in children for page in named(child)]


def test_every_page_and_everything_registered_is_staged(build: ModuleType, tmp_path: Path):
    pages = tmp_path / "pages"
    build.stage(pages)
    for page in named(yaml.safe_load((ROOT / ".mkdocs.yml").read_text())["nav"]):
        assert (pages / page).is_file(), page
    for page in (ROOT / "docs").glob("*.md"):
        assert (pages / "docs" / page.name).is_file()
    for kind in registry.KINDS:
        for name in registry.names(kind):
            assert name in (pages / "reference" / kind / f"{name}.md").read_text()
    absorption = (pages / "reference" / "tasks" / "absorption.md").read_text()
    assert "Share of P an absorber must carry." in absorption  # what stands under a setting


def test_links_to_folders_go_to_a_page(build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "docs").mkdir()
    (tmp_path / "results" / "empty").mkdir(parents=True)
    page, table = tmp_path / "docs" / "a.md", tmp_path / "results" / "table.md"
    page.write_text("[t](../results) [e](../results/empty) [w](https://example.org) [s](#here)")
    table.write_text("x")
    monkeypatch.setattr(build, "ROOT", tmp_path)
    assert build.with_links(page, {page, table}) == (
        "[t](../results/table.md) [e](#) [w](https://example.org) [s](#here)"
    )


def test_the_builder_finds_nothing_wrong(build: ModuleType, tmp_path: Path):
    pytest.importorskip("mkdocs")
    assert build.main(["--site-dir", str(tmp_path / "html")]) == 0
    assert (tmp_path / "html" / "index.html").is_file()
    assert (tmp_path / "html" / "reference" / "tasks" / "sparse_probing" / "index.html").is_file()
