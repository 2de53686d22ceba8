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


def site_title(record: Record) -> str:
    """Model, hook, type and data in one line, and a token rule other than the usual: the heading of a table."""
    site = record.site
    rule = site.token_rule.removeprefix("no-special-tokens").strip(",")
    title = f"{site.model} · {site.hook} · {site.dtype} · data {record.data.name}"
    title = f"{title} · tokens {rule}" if rule else title
    return title if site.encode == "float32" else f"{title} · encoder {site.encode}"
