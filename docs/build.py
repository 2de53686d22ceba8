"""Builds the documentation site: `python docs/build.py` writes .site/html (extra `docs`).

Pages are copied as they lie in the repository, so that their links hold; what they link to beside pages is copied too.
A page for every task, baseline, loader and source is made of what `saebench-lite describe` prints.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from saebench_lite import registry
from saebench_lite.cli.show import description

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "results/**/*.md", "tests/experiments/README.md")
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")


def stage(pages: Path) -> None:
    """Writes every page below `pages`, an empty folder or none."""
    shutil.rmtree(pages, ignore_errors=True)
    sources = sorted({p for pattern in PAGES for p in ROOT.glob(pattern)})
    for source in sources:
        place = pages / source.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(with_links(source, set(sources)), "utf-8")
    for source in {t for page in sources for t in targets(page) if t.is_file() and t.suffix != ".md"}:
        place = pages / source.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place)
    reference(pages / "reference")


def targets(page: Path) -> list[Path]:
    """Files and folders of the repository that a page links to."""
    return [(page.parent / match[1]).resolve() for match in LINK.finditer(page.read_text("utf-8"))]


def with_links(page: Path, known: set[Path]) -> str:
    """A page's text; a link to a folder goes to its README or first page, one to neither loses its link."""

    def moved(match: re.Match[str]) -> str:
        target = (page.parent / match[1]).resolve()
        if not target.is_dir():
            return match[0]
        inside = sorted(known & {target / "README.md", *target.glob("*.md"), *target.rglob("*.md")})
        if not inside:
            return "](" + "#)"
        first = target / "README.md" if target / "README.md" in inside else inside[0]
        return f"]({match[1].rstrip('/')}/{first.relative_to(target)})"

    return LINK.sub(moved, page.read_text("utf-8"))


def reference(folder: Path) -> None:
    """Writes a page for everything that is registered, and their list."""
    lines = ["# Tasks, baselines, loaders, sources", ""]
    for kind in registry.KINDS:
        lines += [f"## {kind.capitalize()}", "", "| name | what it is |", "|---|---|"]
        for name in registry.names(kind):
            thing = registry.get(kind, name)
            said = thing.card.description if kind == "tasks" else thing.description
            lines.append(f"| [{name}]({kind}/{name}.md) | {said} |")
            place = folder / kind / f"{name}.md"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(f"# {name}\n\n{said}\n\n```text\n{description(kind, name)}```\n", "utf-8")
        lines.append("")
    (folder / "index.md").write_text("\n".join(lines), "utf-8")


def main(options: Iterable[str] = ()) -> int:
    """Stages the pages and builds the site; the builder's exit status."""
    stage(ROOT / ".site" / "pages")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-f", str(ROOT / ".mkdocs.yml"), *options]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
