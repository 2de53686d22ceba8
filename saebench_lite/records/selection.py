"""Which record counts where a subject has several, and what groups of records are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from saebench_lite.files import digest
from saebench_lite.progress import warn
from saebench_lite.records.record import Record
from saebench_lite.records.types import SiteInfo

UNREADABLE = "unreadable"
"Fingerprint of a subject that could not be loaded."
SiteAndData = tuple[SiteInfo, str]
"A site and the digest of the data: what the records of a table have in common."


def site_and_data(record: Record) -> SiteAndData:
    """What a record has in common with those of its table."""
    return record.site, record.data.digest


def age(record: Record) -> tuple[str, str]:
    """Sorts records from the oldest to the newest."""
    return record.date, record.digest


def newest_by_subject(records: Iterable[Record]) -> dict[str, Record]:
    """The newest record of each subject, by the subject's name."""
    return {r.subject.name: r for r in sorted(records, key=age)}


def unmended(records: Iterable[Record]) -> list[Record]:
    """The records without failures that were mended: the subject of that name did later what failed.

    The same are task, site, data and settings; not the fingerprint, which a mended file or a mended code changes.
    A failure without a date stays, as nobody knows what came later.
    """
    records = list(records)
    last = {_attempt(r): r.date for r in sorted(records, key=age) if r.status != "failed"}
    return [r for r in records if r.status != "failed" or not r.date or r.date > last.get(_attempt(r), "")]


def _attempt(record: Record) -> tuple[SiteAndData, str, str, str]:
    """What a subject of some name was asked."""
    return *_place(record), record.task.name, digest(record.settings)


def current(records: Iterable[Record]) -> list[Record]:
    """The records without those of an earlier subject of the same name at the same site, on the same data.

    Scores of two SAEs are not one row, nor are those of two versions of a baseline. A warning names what is left out.
    A subject that could not be read takes nobody's place, and failures that were mended are gone without a word.
    """
    records = unmended(records)
    newest = {_place(r): r.subject.fingerprint for r in sorted(records, key=age) if r.subject.fingerprint != UNREADABLE}
    kept, left = [], dict[str, dict[str, None]]()
    for r in records:
        if r.subject.fingerprint in (UNREADABLE, newest.get(_place(r))):
            kept.append(r)
        else:
            left.setdefault(r.subject.name, {})[r.task.name] = None
    if left:
        told = ", ".join(f"{name} ({', '.join(tasks)})" for name, tasks in left.items())
        way_out = "run these tasks again, or rename one of the two"
        warn(f"left out: records of earlier subjects of the same name, {told}; {way_out}")
    return kept


def _place(record: Record) -> tuple[SiteAndData, str]:
    return site_and_data(record), record.subject.name


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


def site_title(record: Record, data: str | None = None) -> str:
    """Model, hook, type and data in one line, and a token rule other than the usual: the heading of a table.

    data: what the data are called; None: as the record says.
    """
    site = record.site
    rule = site.token_rule.removeprefix("no-special-tokens").strip(",")
    title = f"{site.model} · {site.hook} · {site.dtype} · data {record.data.name if data is None else data}"
    title = f"{title} · tokens {rule}" if rule else title
    return title if site.encode == "float32" else f"{title} · encoder {site.encode}"


def data_names(records: Iterable[Record]) -> dict[str, str]:
    """Names of the data of some records by digest, with its first 4 digits where several have one name."""
    names = {r.data.digest: r.data.name for r in records}
    shared = [name for name, n in Counter(names.values()).items() if n > 1]
    return {key: f"{name} [{key[:4]}]" if name in shared else name for key, name in names.items()}


def site_titles(records: Iterable[Record]) -> dict[SiteAndData, str]:
    """`site_title` of each table of some records, their data called as in `data_names`."""
    records = list(records)
    names = data_names(records)
    return {site_and_data(r): site_title(r, names[r.data.digest]) for r in records}
