"""Which records of earlier runs a new record is judged against, and why some have nothing to be judged against.

Earlier SAEs are one group where their metadata tell one recipe with different training seeds, or where several folders
give them one name. A new SAE belongs to the group that holds its name, else to that of its recipe.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from saebench_lite.files import digest
from saebench_lite.records.arrays import protocol_key
from saebench_lite.records.record import Record
from saebench_lite.records.selection import age, unmended
from saebench_lite.records.training import recipe_key, training_seed
from saebench_lite.report.compare import why_apart
from saebench_lite.report.recipes import common_name

ByName = dict[str, list[Record]]


class Counterparts(NamedTuple):
    """New and earlier records of one task that are held against each other, one an SAE."""

    label: str
    key: str
    "Of the protocol that all records follow, evaluation seeds apart."
    new: list[Record]
    earlier: list[Record]

    @property
    def same_weights(self) -> bool:
        """Whether the new SAE is the earlier one, so that training has no part in a difference."""
        return {r.subject.fingerprint for r in self.new} == {r.subject.fingerprint for r in self.earlier}

    @property
    def retrained(self) -> bool:
        """Whether several earlier SAEs show what another training seed does."""
        return len(self.earlier) > 1


@dataclass
class Matching:
    """All that can be compared, a sentence for each thing that cannot, and remarks."""

    pairs: list[Counterparts] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    scored: dict[str, list[Record]] = field(default_factory=dict)
    "All scored records of SAEs that were looked at, by protocol."

    def by_protocol(self, records: Iterable[Record]) -> dict[str, list[Record]]:
        """Records by what must agree for a comparison, evaluation seeds apart, tasks in order; remembers the scored."""
        out: dict[str, list[Record]] = {}
        for record in sorted(records, key=lambda r: (r.task.name, r.subject.name, r.digest)):
            key = protocol_key(record, seeds=False)
            out.setdefault(key, []).append(record)
            if record.status == "ok" and record.subject.kind == "sae":
                self.scored.setdefault(key, []).append(record)
        return out


class _Group(NamedTuple):
    """Earlier SAEs of one recipe."""

    label: str
    names: list[str]
    "Of earlier SAEs."
    members: list[str]
    "Names of new SAEs."


def matched(new: Sequence[Record], baselines: Sequence[Sequence[Record]]) -> Matching:
    """Counterparts of every SAE and task that the baselines hold, for every protocol by itself.

    Whatever is failed and was not mended, missing, extra or ambiguous on either side is a problem.
    """
    found = Matching()
    here = _by_name(unmended(new))
    folders = [_by_name(r for r in unmended(folder) if r.subject.kind == "sae") for folder in baselines]
    for group in _groups(here, folders, found):
        if not group.members:
            found.problems.append(f"{group.label}: the new results hold no subject of that name")
            continue
        mine = {name: found.by_protocol(here[name]) for name in group.members}
        theirs = [found.by_protocol(r for name in group.names for r in f.get(name, [])) for f in folders]
        for key in dict.fromkeys(key for folder in theirs for key in folder):
            earlier = _earlier(group, key, theirs, found)
            later = _new(group, key, mine, earlier, found) if earlier else []
            found.pairs += _pairs(group.label, key, later, earlier)
        _rest(mine, theirs, found)
    found.problems, found.notes = list(dict.fromkeys(found.problems)), list(dict.fromkeys(found.notes))
    return found


def _by_name(records: Iterable[Record]) -> ByName:
    out: ByName = {}
    for record in records:
        out.setdefault(record.subject.name, []).append(record)
    return out


def _groups(here: ByName, folders: Sequence[ByName], found: Matching) -> list[_Group]:
    """Earlier SAEs by recipe, each with its new SAEs; names that are in no group become problems of `found`."""
    groups: dict[str, list[str]] = {}
    by_seed = _by_seed(folders)
    for name in sorted({name for folder in folders for name in folder}):
        records = [r for folder in folders for r in folder.get(name, [])]
        key = _recipe(records[0])
        told = key is not None and all(len(names) == 1 for names in by_seed[key].values())
        groups.setdefault(key if key is not None and told else name, []).append(name)
        recipes = [r.subject.meta.get("recipe") for r in records]
        kinds = {digest({k: v for k, v in r.items() if k != "seed"}) for r in recipes if isinstance(r, dict)}
        if len(kinds) > 1:
            found.problems.append(f"{name}: the baselines made it by different recipes; give them different names")
    of = {name: key for key, names in groups.items() for name in names}
    members: dict[str, list[str]] = {}
    for name, records in sorted(here.items()):
        key = of.get(name) or _recipe(records[0])
        kinds = {r.subject.kind for r in records}
        if name in of and kinds != {"sae"}:
            found.problems.append(f"{name}: it is an SAE in the baseline and a {min(kinds - {'sae'})} now")
        elif kinds == {"sae"} and key in groups:
            members.setdefault(str(key), []).append(name)
        elif kinds == {"sae"}:
            found.problems.append(f"{name}: no baseline holds an SAE of that name or recipe; add it to them")
    return [_Group(common_name(names), names, members.get(key, [])) for key, names in groups.items()]


def _by_seed(folders: Sequence[ByName]) -> dict[str, dict[int | None, set[str]]]:
    """Names of the first record's SAEs by recipe and training seed: with two for one seed metadata do not tell all."""
    out: dict[str, dict[int | None, set[str]]] = {}
    for name, records in (item for folder in folders for item in folder.items()):
        if (key := _recipe(records[0])) is not None:
            out.setdefault(key, {}).setdefault(training_seed(records[0].subject.meta), set()).add(name)
    return out


def _recipe(record: Record) -> str | None:
    """What SAEs of one recipe have in common; None where the metadata tell no training seed."""
    return None if training_seed(record.subject.meta) is None else f"recipe {recipe_key(record.subject.meta)}"


def _earlier(group: _Group, key: str, theirs: Sequence[dict[str, list[Record]]], found: Matching) -> list[Record]:
    """The scored records of a group under a protocol, one an SAE and folder; empty where one has none.

    Args:
        group: the SAEs.
        key: the protocol.
        theirs: records of the group in each folder, by protocol.
        found: gets the problems.
    """
    sample = next(folder[key][0] for folder in theirs if key in folder)
    task, out, apart = sample.task.name, [], []
    missing = 0
    for number, folder in enumerate(theirs, 1):
        where = "the baseline" if len(theirs) == 1 else f"baseline {number}"
        there = _by_name(folder.get(key, []))
        for name, records in _by_name([r for rs in folder.values() for r in rs]).items() or [(group.label, [])]:
            record = _one(there[name], [r.seeds for r in out], where, found) if name in there else None
            if record is None:
                missing += 1
                if name not in there:
                    found.problems.append(f"{name}: {where}: {why_apart(sample, records, name, seeds=False)}")
            elif record.status == "ok":
                out.append(record)
            else:
                apart.append((record.status, f"{name}: {task} is {record.status} in {where} ({record.reason})"))
    if out or missing:
        found.problems += [sentence for _, sentence in apart]
    else:
        found.problems += [sentence for status, sentence in apart if status == "failed"]
        found.notes += [sentence for status, sentence in apart if status == "not_applicable"]
    return [] if missing or apart else out


def _new(
    group: _Group, key: str, mine: dict[str, dict[str, list[Record]]], earlier: Sequence[Record], found: Matching
) -> list[Record]:
    """The scored records of the new SAEs of a group under a protocol.

    Args:
        group: the SAEs.
        key: the protocol.
        mine: new records by name and protocol.
        earlier: what they will be held against.
        found: gets the problems.
    """
    out = []
    for name in group.members:
        candidates = mine[name].get(key, [])
        if not candidates:
            others = [r for rs in mine[name].values() for r in rs]
            found.problems.append(f"{name}: {why_apart(earlier[0], others, name, seeds=False)}")
            continue
        record = _one(candidates, [r.seeds for r in earlier], "the new results", found)
        if record is not None and record.status != "ok":
            found.problems.append(f"{name}: {record.task.name} is {record.status} now ({record.reason})")
        elif record is not None:
            out.append(record)
    return out


def _one(candidates: Sequence[Record], seeds: Sequence[list[int]], where: str, found: Matching) -> Record | None:
    """The record that counts among those of one name and protocol in one folder: under known seeds, else the newest.

    None, and a problem, where they are of different SAEs or where one without a date keeps the newest from being known.

    Args:
        candidates: the records.
        seeds: evaluation seeds on the other side.
        where: what the folder is called.
        found: gets the problem.
    """
    name, task = candidates[0].subject.name, candidates[0].task.name
    if len({r.subject.fingerprint for r in candidates}) > 1:
        found.problems.append(f"{name}: in {where} there is {task} of several SAEs of that name; keep one in a folder")
        return None
    pool = [r for r in candidates if r.seeds in seeds] or list(candidates)
    if len(pool) > 1 and not all(r.date for r in pool):
        found.problems.append(f"{name}: in {where} there are several records of {task}, one without a date; keep one")
        return None
    return max(pool, key=age)


def _pairs(label: str, key: str, new: Sequence[Record], earlier: Sequence[Record]) -> Iterator[Counterparts]:
    """New SAEs that are earlier ones by themselves; all others together against all earlier ones, if those are several.

    Records of equal weights under several names or in several folders count once.

    Args:
        label: what several SAEs are called together.
        key: of their protocol.
        new: records of new SAEs.
        earlier: records of earlier ones.
    """
    once = list({r.subject.fingerprint: r for r in reversed(earlier)}.values())[::-1]
    others: dict[str, Record] = {}
    for record in new:
        twins = [r for r in earlier if r.subject.fingerprint == record.subject.fingerprint]
        if twins:
            twin = next((r for r in twins if r.seeds == record.seeds), twins[0])
            yield Counterparts(record.subject.name, key, [record], [twin])
        elif len(once) == 1:
            yield Counterparts(record.subject.name, key, [record], once)
        else:
            others.setdefault(record.subject.fingerprint, record)
    if others:
        together = list(others.values())
        yield Counterparts(together[0].subject.name if len(together) == 1 else label, key, together, once)


def _rest(mine: dict[str, dict[str, list[Record]]], theirs: Sequence[dict[str, list[Record]]], found: Matching) -> None:
    """Tasks of new SAEs that no baseline holds: a remark, or a problem where they failed."""
    known = {r.task.name for folder in theirs for rs in folder.values() for r in rs}
    for name, by_key in mine.items():
        for record in (r for rs in by_key.values() for r in rs if r.task.name not in known):
            if record.status == "failed":
                found.problems.append(f"{name}: {record.task.name} failed ({record.reason})")
            elif record.status == "ok":
                found.notes.append(f"{name}: {record.task.name} is not judged, the baseline has no record of it")
