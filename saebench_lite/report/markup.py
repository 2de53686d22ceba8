"""Foreign names and sentences as text of one format each: nothing in them is taken for markup, a command or a new line.

Names come from folders and files, reasons from exceptions; each may hold anything.
"""

from __future__ import annotations

import re
import unicodedata


def visible(text: str) -> str:
    """For a terminal or a comment: what moves the cursor, changes colours or turns the reading direction is spelt out.

    Lines stay lines; a lone surrogate is spelt out too, so that the text can be encoded.
    """
    if text.isprintable():  # so are most, and nothing printable acts
        return text
    return "".join(c if c == "\n" or not _acts(c) else _spelt(c) for c in text)


def one_line(text: str) -> str:
    """`visible` text with line breaks and tabs as blanks."""
    return visible(" ".join(text.splitlines()).replace("\t", " ").replace("\v", " "))


def markdown(text: str) -> str:
    """For a line or a table cell of Markdown: no column, HTML, link, code or emphasis begins in it."""
    plain = re.sub(r"&(?=#?\w+;)", "&amp;", one_line(text))
    plain = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", plain)
    for mark in ("\\", "|", "`", "*", "](", "~~"):
        plain = plain.replace(mark, "".join("\\" + c for c in mark))
    return plain


def code_span(text: str) -> str:
    """For a name that a program will put between backticks in a Markdown table: neither ends in it."""
    return one_line(text).replace("`", "'").replace("|", "¦")


def csv_cell(text: str) -> str:
    """For a cell that a spreadsheet opens: a leading quotation mark keeps it from being a formula."""
    plain = one_line(text)
    return "'" + plain if plain.lstrip()[:1] in ("=", "+", "-", "@") else plain


def _acts(c: str) -> bool:
    """Whether a character is a control, a mark of direction, or half of one."""
    return unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in ("\u200d", "\u200c")


def _spelt(c: str) -> str:
    return f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}"
