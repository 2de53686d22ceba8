"""Files shipped with the package: the pico model, its SAEs, labelled concept texts, questions.

May import: nothing.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent


def sae_folders() -> list[Path]:
    """Folders of the bundled SAEs, in the native format, sorted by name."""
    return sorted(p.parent for p in (ROOT / "saes").glob("*/sae.json"))


def concept_texts() -> dict[str, dict[str, list[str]]]:
    """Topic -> subtopic -> texts, in the order of the files; "" holds the topic's texts that are of no subtopic.

    A topic is a file `concepts/TOPIC.txt`, a subtopic the lines below `## SUBTOPIC`, a text a line; lines above the
    first heading are of no subtopic, empty lines are skipped.
    """
    topics: dict[str, dict[str, list[str]]] = {}
    for path in sorted((ROOT / "concepts").glob("*.txt")):
        here = topics.setdefault(path.stem, {}).setdefault("", [])
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("## "):
                here = topics[path.stem].setdefault(line.removeprefix("## "), [])
            elif line:
                here.append(line)
    return topics


def questions() -> dict[str, list[list[str]]]:
    """Topic -> questions, each a beginning of a sentence and four ways to go on, the right one first.

    A topic is a file `questions/TOPIC.txt` named as one of the concept texts, a question a line, its parts divided by
    " | ".
    """
    files = sorted((ROOT / "questions").glob("*.txt"))
    return {f.stem: [line.split(" | ") for line in f.read_text(encoding="utf-8").splitlines()] for f in files}
