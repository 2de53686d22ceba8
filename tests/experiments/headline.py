"""Does the headline of probing follow the truth in worlds that nobody chose it on?

`python -m tests.experiments.headline [--worlds NAME ...] [--lengths N] [--work FOLDER]`

Two fresh secret worlds, a panel of SAEs each, texts of several lengths (the first N of them; all by default). Panels
and rows go to a work folder and are read from there when the command runs again, so that it can be stopped at any time.
A page of one world (--worlds) may be made beside another, in a process of its own; the command without it joins them.

`python -m tests.experiments.headline --smollm2 FOLDER` compares SAEs of a language model in FOLDER instead.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from saebench_lite.audit.within import composite
from saebench_lite.files import cache_root, write_text
from tests.conftest import ROOT
from tests.experiments import headline_smollm2
from tests.experiments.headline_analysis import COMPOSED, Arranged, figures_of
from tests.experiments.headline_page import Scored, page
from tests.experiments.headline_parts import LENGTHS, WORLDS, Row, Site, site_of, truths_of

OUT = ROOT / "results" / "audit"


def arranged(site: Site, truths: dict[str, dict[str, float]]) -> Arranged:
    """Scores and truths of a site by L0 level and architecture."""
    levels = sorted({r.level for r in site.rows} - {0})
    at = {(r.level, r.architecture, r.control): r for r in site.rows}
    architectures = list(dict.fromkeys(r.architecture for r in site.rows if r.level))
    grid = [(level, architecture) for level in levels for architecture in architectures]
    shape = len(levels), len(architectures)

    def table(candidate: str, control: bool) -> np.ndarray:
        return np.array([at[*cell, control].scores[candidate] for cell in grid]).T.reshape(-1, *shape)

    def of_sae(fact: str) -> np.ndarray:
        return np.array([truths[at[*cell, False].name][fact] for cell in grid]).reshape(shape)

    (oracle,) = (r for r in site.rows if r.level == 0)
    facts = {name: of_sae(name) for name in next(iter(truths.values()))}
    l0 = facts.pop("l0")
    return Arranged(
        scores={c: table(c, False) for c in oracle.scores},
        random={c: table(c, True) for c in oracle.scores},
        oracle={c: float(np.mean(v)) for c, v in oracle.scores.items()},
        truth={"composite": composite([facts[name] for name in COMPOSED]), **facts},
        l0=l0,
    )


def scored(site: Site, truths: dict[str, dict[str, float]]) -> Scored:
    """A site with its analysis."""
    a = arranged(site, truths)
    return Scored(site, a, {c: figures_of(a, c) for c in a.scores})


def numbers(every: list[Scored], truths: dict[str, dict[str, dict[str, float]]]) -> str:
    """All scores and truths as JSON, one row of it a line."""

    def rounded(row: Row) -> list[object]:
        return [*row[:4], {c: [round(v, 5) for v in values] for c, values in row.scores.items()}]

    sites = []
    for s in every:
        head = {"world": s.site.world, "length": s.site.length._asdict(), "concepts": s.site.concepts}
        lines = ",\n".join(json.dumps(rounded(row)) for row in s.site.rows)
        sites.append(f'{json.dumps(head)[:-1]}, "rows": [\n{lines}\n]}}')
    head = json.dumps({"fields": Row._fields, "truths": truths})
    return f'{head[:-1]}, "sites": [\n' + ",\n".join(sites) + "\n]}\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lengths", type=int, default=len(LENGTHS))
    parser.add_argument("--work", type=Path, default=cache_root() / "headline")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS))
    parser.add_argument("--smollm2", type=Path)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if asked.smollm2:
        headline_smollm2.main(asked.smollm2, asked.work, OUT / "headline-smollm2.md")
        return
    lengths = LENGTHS[: asked.lengths]
    truths = {world: truths_of(world, asked.work) for world in asked.worlds}
    sites = [site_of(world, length, asked.work) for length in lengths for world in asked.worlds]
    every = [scored(site, truths[site.world]) for site in sites]
    command = "python -m tests.experiments.headline"
    command += "" if asked.worlds == list(WORLDS) else f" --worlds {' '.join(asked.worlds)}"
    command += "" if lengths == LENGTHS else f" --lengths {len(lengths)}"
    write_text(OUT / "headline.md", page(every, command))
    write_text(OUT / "headline.json", numbers(every, truths))


if __name__ == "__main__":
    main()
