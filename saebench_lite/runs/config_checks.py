"""What a field of a run's configuration may hold: each check returns the value in its own type or says why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from numbers import Integral, Real
from pathlib import Path
from typing import TypeVar

from saebench_lite.errors import MOST_WHOLE, SaebenchError, told
from saebench_lite.runs.sharding import Shard

T = TypeVar("T")
MOST_SEEDS = 10_000
MOST_NUMBER = 1e308
Check = Callable[[str, object], T]
"(field, value) -> value; SaebenchError with one sentence that names both and the way out."


def optional(check: Check[T]) -> Check[T | None]:
    """The check, for a field that may be None."""
    return lambda field, value: None if value is None else check(field, value)


def text(field: str, value: object) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise SaebenchError(f"{field} is {told(value)}; give a name")
    return value


def texts(field: str, value: object) -> tuple[str, ...]:
    """Texts without repetition; a single text stands for a list of one."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, Sequence):
        raise SaebenchError(f"{field} is {told(value)}; give a name or a list of names")
    if bad := [item for item in items if not isinstance(item, str) or not item.strip()]:
        raise SaebenchError(f"{field} holds {told(bad[0])}; give a name or a list of names")
    if twice := [item for item in items if items.count(item) > 1]:
        raise SaebenchError(f"{field} names {told(twice[0])} twice; name it once")
    return tuple(items)


def names(field: str, value: object) -> tuple[str, ...]:
    """Texts as of `texts`; a single one may list several with commas between, or be `none`."""
    if not isinstance(value, str):
        return texts(field, value)
    items = texts(field, [name.strip() for name in value.split(",") if name.strip()] or [value])
    if "none" in items and len(items) > 1:
        raise SaebenchError(f"{field} is {value!r}, none and others; give none alone, or leave it out of the list")
    return () if items == ("none",) else items


def names_there(field: str, value: object) -> tuple[str, ...]:
    """As `names`, one at least."""
    return one_or_more(field, names(field, value))


def one_or_more(field: str, value: object) -> tuple[str, ...]:
    """Texts, one at least."""
    if not (items := texts(field, value)):
        raise SaebenchError(f"{field} is an empty list; name one at least, or leave it out")
    return items


def number_from(low: int, most: int = MOST_WHOLE) -> Check[int]:
    """Whole numbers from `low` to `most`."""

    def check(field: str, value: object) -> int:
        number = _number(value)
        if isinstance(number, bool) or not isinstance(number, int) or number < low:
            raise SaebenchError(f"{field} is {told(value)}; give a whole number, {low} at least")
        if number > most:
            end = "less than 2^63" if most == MOST_WHOLE else f"{most:,} at most"
            raise SaebenchError(f"{field} is {told(value)}; give {end}")
        return number

    return check


def above_zero(field: str, value: object, most: float = MOST_NUMBER, unit: str = "") -> float:
    """A finite number above 0 and at most `most`, which counts a `unit`."""
    number = _number(value)
    if not isinstance(number, int | float) or isinstance(number, bool) or not 0 < number < float("inf"):
        raise SaebenchError(f"{field} is {told(value)}; give a number above 0")
    if number > most:
        end = f"{most:g}" if most == MOST_NUMBER else f"{most:,} {unit}"
        raise SaebenchError(f"{field} is {told(value)}; give {end} at most")
    return number


def yes_or_no(field: str, value: object) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise SaebenchError(f"{field} is {told(value)}; write true or false")
    return value


def one_of(*options: str) -> Check[str]:
    """One of some words."""

    def check(field: str, value: object) -> str:
        if not isinstance(value, str) or value not in options:
            raise SaebenchError(
                f"{field} {told(value)} is not known; choose {', '.join(options[:-1])} or {options[-1]}"
            )
        return value

    return check


def path(field: str, value: object) -> Path:
    """A path, as it was given."""
    if not isinstance(value, str | Path) or not str(value).strip():
        raise SaebenchError(f"{field} is {told(value)}; give the path of a folder")
    return Path(value)


def devices(field: str, value: object) -> tuple[str, ...]:
    """Names of devices, comma-separated or a list; a number n stands for cuda:n."""
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, Sequence) or not all(isinstance(word, str) and word.strip() for word in words):
        raise SaebenchError(f"{field} is {told(value)}; give names of devices or numbers of GPUs, such as 0,1")
    return tuple(f"cuda:{word.strip()}" if word.strip().isdigit() else word.strip() for word in words)


def seeds(field: str, value: object) -> int | tuple[int, ...]:
    """How many seeds, or the seeds as a sequence or an array."""
    value = _number(getattr(value, "tolist", lambda: value)())
    if isinstance(value, Sequence) and not isinstance(value, str):
        chosen = tuple(number_from(0)(field, seed) for seed in value)
        if not chosen or len(set(chosen)) < len(chosen):
            raise SaebenchError(f"{field} is {told(value)}; give each seed once, one at least")
        return chosen
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SaebenchError(f"{field} must be at least 1 or a list of seeds, not {told(value)}")
    return number_from(1, MOST_SEEDS)(field, value)


def settings(field: str, value: object) -> dict[str, dict[str, object]]:
    """{task: {field: value}} of JSON values, lists as tuples."""
    if not isinstance(value, Mapping):
        raise SaebenchError(f"{field} is {told(value)}; write task: {{field: value}}")
    checked: dict[str, dict[str, object]] = {}
    for task, fields in value.items():
        if not isinstance(task, str) or not isinstance(fields, Mapping):
            raise SaebenchError(f"{field} of {told(task)} is {told(fields)}; write task: {{field: value}}")
        checked[task] = {str(name): _plain(f"{field} {task}.{name}", item) for name, item in fields.items()}
    return checked


def shard(field: str, value: object) -> Shard:
    """A share, written i/n."""
    if isinstance(value, str):
        return Shard.parse(value)
    if not isinstance(value, Shard):
        raise SaebenchError(f"{field} is {told(value)}; write i/n with i from 1 to n, such as 2/8")
    return Shard.parse(str(value))


def _number(value: object) -> object:
    """An int or float for a number of any type, as NumPy has others; bools and all else as they are."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    with suppress(OverflowError):  # a fraction may be beyond any float
        return int(value) if isinstance(value, Integral) else float(value)
    return value


def _plain(field: str, value: object) -> object:
    if isinstance(value, list | tuple):
        return tuple(_plain(field, item) for item in value)
    if isinstance(value, Mapping):
        return {str(key): _plain(field, item) for key, item in value.items()}
    value = _number(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise SaebenchError(f"{field} is {told(value)}; give a number, a text, true, false or a list of these")
