"""Which record counts where a subject has several, and what groups of records are called."""

from __future__ import annotations

from collections.abc import Iterable

from saebench_lite.files import digest
from saebench_lite.records.record import Record


def age(record: Record) -> tuple[str, str]:
    """Sorts records from the oldest to the newest."""
    return record.date, record.digest


def newest_by_subject(records: Iterable[Record]) -> dict[str, Record]:
    """The newest record of each subject, by the subject's name."""
    return {r.subject.name: r for r in sorted(records, key=age)}


def variant(record: Record) -> str:
    """4 hex digits that tell settings and seeds of one task apart."""
    return digest([record.settings, record.seeds])[:4]


def variants(records: Iterable[Record]) -> dict[tuple[str, str], str]:
    """(task, code of `variant`) -> what tells it from the task's other variants; without tasks that have one alone.

    Told are settings in which the variants of a task differ, and seeds where these do, as `pooling mean, seeds 0/1`.
    """
    by_task: dict[str, dict[str, Record]] = {}
    for record in records:
        by_task.setdefault(record.task.name, {}).setdefault(variant(record), record)
    out = {}
    for task, of in sorted(by_task.items()):
        settings = [r.settings for r in of.values()]
        fields = [f for f in dict.fromkeys(f for s in settings for f in s) if _differ([s.get(f) for s in settings])]
        seeded = _differ([r.seeds for r in of.values()])
        for code, r in sorted(of.items()) if len(of) > 1 else ():
            told = [f"{f} {_plain(r.settings.get(f))}" for f in fields]
            out[task, code] = ", ".join([*told, *([f"seeds {_plain(r.seeds)}"] if seeded else [])])
    return out


def _differ(values: list[object]) -> bool:
    return any(v != values[0] for v in values[1:])


def _plain(value: object) -> str:
    """A value of a setting in words."""
    if isinstance(value, list | tuple):
        return "/".join(map(_plain, value)) or "none"
    return "none" if value is None else str(value)


def site_title(record: Record) -> str:
    """Model, hook, type and data in one line, and a token rule other than the usual: the heading of a table."""
    site = record.site
    rule = site.token_rule.removeprefix("no-special-tokens").strip(",")
    title = f"{site.model} · {site.hook} · {site.dtype} · data {record.data.name}"
    title = f"{title} · tokens {rule}" if rule else title
    return title if site.encode == "float32" else f"{title} · encoder {site.encode}"
