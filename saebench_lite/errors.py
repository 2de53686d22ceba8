"""The two exceptions a user meets, each message one sentence (the thing, the value, the way out); any other in one."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager

MOST_WHOLE = 2**63 - 1
"The largest whole number that is taken; beyond it libraries have none."


class SaebenchError(Exception):
    """Bad input or a broken artefact; shown without a traceback unless --debug is given."""


class NotApplicable(SaebenchError):
    """A task cannot say anything about this subject or site; the record keeps the reason instead of a number."""


def reason(error: BaseException, most: int = 200) -> str:
    """One line about an exception, at most `most` characters: its message if it is ours, else "Type: first line".

    An exception without a message is named by its type; one whose `__str__` fails too.
    """
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  (a foreign __str__ may do anything)
        text = ""
    if isinstance(error, SaebenchError):
        return text or name
    if out_of_memory(error, text):
        return "memory ran out"
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    first = "".join(c if c.isprintable() else "?" for c in first)[:most]
    return f"{name}: {first}" if first else name


def kind_of(value: object) -> str:
    """The type of a value as a sentence names it: `an int`, `a dict`."""
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def told(value: object, most: int = 80) -> str:
    """A value as a sentence shows it: its `repr`, cut after `most` characters; a long whole number by its size."""
    if isinstance(value, int) and abs(value) > 10**30:
        return f"about {'-' if value < 0 else ''}10^{math.log10(abs(value)):.0f}"
    try:
        text = repr(value)
    except ValueError:  # it holds a number of thousands of digits, which Python does not write
        return f"a {type(value).__name__} of huge numbers"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def out_of_memory(error: BaseException, text: str | None = None) -> bool:
    """Whether an exception says that main memory could not be had; `text` is its message."""
    said = str(error) if text is None else text
    return isinstance(error, MemoryError) or any(words in said for words in ("can't allocate memory", "bad_alloc"))


def installed(module: str) -> bool:
    """Whether a package can be imported; imports nothing itself."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a module that is shadowed, or None in its place
        return False


def require(who: str, module: str, extra: str) -> None:
    """SaebenchError if a package that is not among the suite's own dependencies is not installed.

    Args:
        who: what needs it, as the sentence begins.
        module: what is imported.
        extra: the extra of saebench-lite that brings it.
    """
    if not installed(module):
        raise SaebenchError(
            f"{who} needs {module}, which is not installed; install it with: pip install 'saebench-lite[{extra}]'"
        )


@contextmanager
def contained() -> Iterator[None]:
    """Within it, what foreign code raises to end the process (SystemExit, a panic of Rust code) is a RuntimeError.

    KeyboardInterrupt is the user's and passes.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise RuntimeError(f"it would end the process ({reason(error)})") from error


@contextmanager
def as_sentence() -> Iterator[None]:
    """Within it a SaebenchError ends the process with its sentence on stderr and status 2; for scripts."""
    try:
        yield
    except SaebenchError as error:
        sys.stderr.write(f"Error: {reason(error)}\n")
        raise SystemExit(2) from None
