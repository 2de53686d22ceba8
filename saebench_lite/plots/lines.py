"""Texts broken into lines of a width, by the widths of their letters."""

from __future__ import annotations

import re
from bisect import bisect_right

MARKS = r"[_/.:,-]"
"Where a long name is broken rather than in the middle of a word."
SPARE = 1.03
"Letters are up to 3 % wider on a grid of pixels than their outlines."


def width_of(text: str, size: float) -> float:
    """Inches that one line takes in letters of `size` points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    points, *_ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)
    return SPARE * points / 72


def wrapped(text: str, width: float, size: float) -> list[str]:
    """A text in lines of at most `width` inches: broken at blanks, within a word that is too long after its marks.

    Args:
        text: may have lines, which stay apart.
        width: in inches.
        size: of the letters, in points.
    """
    out = []
    for line in text.split("\n"):
        out.append("")
        for word in line.split(" "):
            longer = f"{out[-1]} {word}" if out[-1] else word
            if width_of(longer, size) <= width:
                out[-1] = longer
            else:
                pieces = _pieces(word, width, size)
                out[-1:] = [out[-1], *pieces] if out[-1] else pieces
    return out


def _pieces(word: str, width: float, size: float) -> list[str]:
    """A word in pieces of at most `width` inches, of one letter at least."""
    out = []
    while width_of(word, size) > width and len(word) > 1:
        fits = max(1, bisect_right(range(1, len(word)), width, key=lambda n: width_of(word[:n], size)))
        at = max((m.end() for m in re.finditer(MARKS, word[:fits])), default=fits)
        out.append(word[:at])
        word = word[at:]
    return [*out, word]
