"""Signs in the records of an SAE that something else was scored than was meant."""

from __future__ import annotations

from collections.abc import Sequence

from saebench_lite.names import ELSEWHERE
from saebench_lite.records.record import Record
from saebench_lite.records.selection import site_and_data, site_titles
from saebench_lite.report.numbers import figure
from saebench_lite.report.sections import l0_of

FACTOR = 2.0
"Measured over published L0, either way, that is still no sign."
DEAD = 0.5
"Share of dead latents from which most of an SAE is idle."
WAY_OUT = "is this its model, hook and scale?"
MOST = 10
"Sentences that are shown."


def doubts(records: Sequence[Record]) -> list[str]:
    """A sentence for each SAE of a site whose codes are all 0, whose L0 is far from the published one (or the one
    its recipe asked for), whose latents are mostly dead, or whose metadata name another model, hook or token rule; the
    first MOST, and how many more there are.

    L0 is that of a task, or else of the sample on which controls were made; dead latents are known where reconstruction
    was scored.
    """
    titles = site_titles(records)
    sites: dict[str, list[Record]] = {}
    for record in records:
        if record.subject.kind == "sae":
            sites.setdefault(titles[site_and_data(record)], []).append(record)
    said: list[str] = []
    for title, of_site in sites.items():
        l0s = l0_of(of_site)
        where = f" ({title})" if len(sites) > 1 else ""
        for name in dict.fromkeys(r.subject.name for r in of_site):
            own = [r for r in of_site if r.subject.name == name]
            if signs := _signs(own, l0s.get(name)):
                said.append(f"{name}{where}: {'; '.join(signs)}")
    return said[:MOST] + ([f"{len(said) - MOST} more SAEs like these"] if len(said) > MOST else [])


def _signs(records: Sequence[Record], l0: float | None) -> list[str]:
    """What speaks against one SAE of one site."""
    published = next((p for r in records if (p := r.subject.meta.get("published_l0")) is not None), None)
    recipe = next((m for r in records if isinstance(m := r.subject.meta.get("recipe"), dict)), {})
    dead = next((r.scores["dead_fraction"].value for r in records if "dead_fraction" in r.scores), None)
    told, whose = (published, "was published") if published is not None else (recipe.get("l0"), "its recipe asked for")
    told = float(told) if isinstance(told, int | float) and told > 0 else None
    noted = (note for r in records if r.provenance is not None for note in r.provenance.notes)
    signs = list(dict.fromkeys(note for note in noted if note.startswith(ELSEWHERE)))
    if l0 == 0:
        signs.append(f"it never fires: all its codes are 0; {WAY_OUT}")
    elif l0 is not None and told is not None and not told / FACTOR <= l0 <= told * FACTOR:
        aim = f"{told:g} {whose}" if published is not None else f"{whose} {told:g}"
        signs.append(f"its L0 is {figure(l0)} where {aim}; {WAY_OUT}")
    if l0 != 0 and dead is not None and dead > DEAD:
        signs.append(f"{100 * dead:.0f} % of its latents are dead")
    return signs
