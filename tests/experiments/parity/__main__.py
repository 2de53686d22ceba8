"""Writes results/parity/parity.md: `SAEBENCH_LITE_PARITY=folder python -m tests.experiments.parity`.

The folder holds a small language model (lm/), SAEs (saes/) and, for each evaluation, the peers' inputs and outputs
(core/, sparse_probing/, absorption/, sae_probes/). SAEBENCH_LITE_AXBENCH may name folders of AxBench concept sets,
separated by colons.
"""

from __future__ import annotations

import os
from pathlib import Path

from saebench_lite.files import write_text
from saebench_lite.models.language_model import LanguageModel
from tests.experiments.parity import absorption, axbench, core, probing, sae_probes
from tests.experiments.parity.rows import SAES, Row, load_sae

TABLE = Path(__file__).resolve().parents[3] / "results" / "parity" / "parity.md"
HEAD = """# Parity with SAEBench 0.6.0, sae-probes 0.4.2 and AxBench's methods

`SAEBENCH_LITE_PARITY=folder SAEBENCH_LITE_AXBENCH=folder:folder python -m tests.experiments.parity` writes this file.
The peers'
own programs ran on one small language model and two SAEs; their inputs and outputs are not part of this repository.
"Their ..." is the peer's formula computed by us (`saebench_lite.metrics.peer_formulas`,
`saebench_lite.probes.peer_fits`: what the profiles
use); a line without a tolerance is our own definition beside the peer's. Why definitions differ: docs/parity.md.
Where AxBench is the peer, the reference is scikit-learn by AxBench's formula: AxBench has no figures for this model.
"""


def all_rows(root: Path, axbench_folders: list[Path]) -> list[Row]:
    """Every comparison; about four minutes on one core."""
    lm = LanguageModel.load(str(root / "lm"))
    rows = []
    for name in SAES:
        sae = load_sae(root / "saes" / name)
        rows += core.rows(root, name, lm, sae)
        rows += probing.rows(root, name, lm, sae)
        rows += absorption.rows(root, name, lm, sae)
        rows += sae_probes.rows(root, name, sae)
    for folder in axbench_folders:
        rows += axbench.rows(folder)
    return rows


def heading(columns: tuple[str, ...]) -> list[str]:
    return ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]


def summary(rows: list[Row]) -> str:
    lines = [
        "| part | SAE or set | figures | within tolerance | equal to 1e-5 | by another definition |",
        "|---|---|---|---|---|---|",
    ]
    for part, sae in dict.fromkeys((r.part, r.sae) for r in rows):
        mine = [r for r in rows if (r.part, r.sae) == (part, sae)]
        held = [r for r in mine if r.tolerance is not None]
        close = sum(abs(r.ours - r.peer) <= 1e-5 for r in held)
        good = sum(r.agrees for r in held)
        lines.append(f"| {part} | {sae} | {len(held)} | {good} | {close} | {len(mine) - len(held)} |")
    return "\n".join(lines)


def table(rows: list[Row]) -> str:
    lines = [
        "| part | SAE or set | metric | peer | ours | difference | tolerance | note |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        tolerance = "another definition" if r.tolerance is None else f"{r.tolerance:g}"
        figures = f"{r.peer:.6g} | {r.ours:.6g} | {r.ours - r.peer:+.1e}"
        lines.append(f"| {r.part} | {r.sae} | {r.metric} | {figures} | {tolerance} | {r.note} |")
    return "\n".join(lines)


def main() -> None:
    folder = os.environ.get("SAEBENCH_LITE_PARITY")
    if not folder:
        raise SystemExit("SAEBENCH_LITE_PARITY names no folder with the peers' inputs and outputs")
    sets = [Path(f) for f in os.environ.get("SAEBENCH_LITE_AXBENCH", "").split(":") if f]
    rows = all_rows(Path(folder), sets)
    write_text(TABLE, f"{HEAD}\n{summary(rows)}\n\n{table(rows)}\n")
    print(summary(rows))


if __name__ == "__main__":
    main()
