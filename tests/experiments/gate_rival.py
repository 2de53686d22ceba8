"""A rival of the gate, `gavagai-lint`: `python -m tests.experiments.gate_rival`, after `pip install gavagai==0.2.1`.

`gavagai-lint --before A --after B` reads the decoder rows of two dictionaries alone. A row of one may stand for a row
of the other where their cosine is at least 0.9; the command counts the ways to give each row that has such a partner
one of its own, n of at most 1,000, and fails where 1 - 1 / (1 + log n) is at least 0.5, where there is no way, and
where no row has a partner. Each of `SEEDS` training seeds of `gate_power`, as it is and with each of its faults, is
held against each other seed without a fault, and against itself without the fault. A failure without a fault is
false, one with a fault is right.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations

import numpy as np
import torch
from tabulate import tabulate

from saebench_lite.errors import SaebenchError
from saebench_lite.files import write_text
from saebench_lite.saes.affine import AffineSAE
from tests.conftest import ROOT
from tests.experiments.gate_faults import FAULTS
from tests.experiments.gate_power import HONEST, RECIPES, SITES, honest, with_faults

SEEDS = 4
THRESHOLD = 0.5
"""From which on the command fails, by default."""
Score = Callable[[np.ndarray, np.ndarray], float]
"""(decoder before, decoder after) -> the score of the pair; both [d_sae, d]."""


def rows(saes: Sequence[Mapping[str, AffineSAE]], score: Score) -> list[list[object]]:
    """One row a fault: its name, failures against another training seed, and against the SAE itself without it.

    Args:
        saes: each training seed's SAE, as it is and with each fault.
        score: of the rival.
    """
    of = [{name: sae.W_dec.double().numpy() for name, sae in each.items()} for each in saes]
    out: list[list[object]] = []
    for fault in (HONEST, *FAULTS):
        pairs = list(permutations(range(len(of)), 2))
        others = sum(score(of[old][HONEST], of[new][fault]) >= THRESHOLD for new, old in pairs)
        itself = sum(score(each[HONEST], each[fault]) >= THRESHOLD for each in of)
        out.append([fault, f"{others} of {len(pairs)}", f"{itself} of {len(of)}"])
    return out


def section(site: str, score: Score) -> str:
    """The table of one site."""
    _, acts = SITES[site]()
    saes = [with_faults(honest(site, acts, seed), seed) for seed in range(SEEDS)]
    heads = ["fault of the new SAE", "fails against another training seed", "fails against itself without the fault"]
    recipe = RECIPES[site]
    name = f"{site}, {SEEDS} training seeds of {recipe.architecture}, {recipe.d_sae} latents"
    return f"## {name}\n\n{tabulate(rows(saes, score), heads, tablefmt='github', disable_numparse=True)}\n"


def main() -> None:
    """Writes results/gate/gavagai.md; SaebenchError without the package."""
    try:
        from gavagai import gavagai_score  # pyright: ignore[reportMissingImports]  # no dependency of ours
    except ImportError:
        raise SaebenchError("gavagai is not installed; pip install gavagai==0.2.1") from None
    torch.set_num_threads(1)
    about, _, words = (__doc__ or "").replace("`SEEDS`", str(SEEDS)).partition("\n\n")
    version = importlib.metadata.version("gavagai")
    head = (
        f"# {about}\n\n{' '.join(words.split())} Version {version}, its defaults; the gate's own: [power.md](power.md)."
    )
    text = "\n".join([head, "", *(section(site, gavagai_score) for site in RECIPES)]).rstrip() + "\n"
    print(text)
    write_text(ROOT / "results" / "gate" / "gavagai.md", text)


if __name__ == "__main__":
    main()
