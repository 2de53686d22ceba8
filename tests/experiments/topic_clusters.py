"""Do bundled concepts of one topic move together? `python -m tests.experiments.topic_clusters`

Intervals and ranks take the 120 bundled concepts as independent units, though nine of ten are subtopics of twelve
topics. Here, from committed records of concept detection: the intra-topic correlation of paired differences between
SAEs (one-way analysis of variance, Donner & Koval 1980), the design effect 1 + (m - 1) rho that it means for the
variance of a mean (Kish 1965), and the standard error of a difference with whole topics drawn anew as a multiple of
that with single concepts drawn anew. Writes results/simulations/clusters.md.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from tabulate import tabulate

from saebench_lite.files import write_text
from saebench_lite.records.summary import arrays
from saebench_lite.stats.intervals import collapse
from tests.experiments.rank_populations import ROOT, records_of

FOLDERS = ("smollm2", "pico")
METRIC = "average_precision"
DRAWS = 2000


def scores_of(folder: str) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the SAEs [saes, subtopics] and each subtopic's topic [subtopics]."""
    found = [r.per_unit[METRIC] for r in records_of(folder, "concept_detection") if r.subject.kind == "sae"]
    units = [u for u in found[0].units if "/" in u]
    rows = [dict(zip(f.units, collapse(*arrays(f))[0], strict=True)) for f in found]
    return np.array([[row[u] for u in units] for row in rows]), np.array([u.split("/")[0] for u in units])


def intra_class(x: np.ndarray, topic: np.ndarray) -> float:
    """Analysis-of-variance estimate of the intra-class correlation of x [n] in classes of equal size."""
    groups = [x[topic == t] for t in np.unique(topic)]
    size = len(groups[0])
    between = size * np.var([g.mean() for g in groups], ddof=1)
    within = np.mean([g.var(ddof=1) for g in groups])
    return float((between - within) / (between + (size - 1) * within))


def error_ratio(x: np.ndarray, topic: np.ndarray, rng: np.random.Generator) -> float:
    """Standard error of the mean of x [n] over whole topics drawn anew, as a multiple of that over single units."""
    groups = np.stack([x[topic == t] for t in np.unique(topic)])
    whole = groups[rng.integers(len(groups), size=(DRAWS, len(groups)))].mean((1, 2)).std()
    single = x[rng.integers(len(x), size=(DRAWS, len(x)))].mean(1).std()
    return float(whole / single)


def line(folder: str) -> list[str]:
    """A row of the table."""
    x, topic = scores_of(folder)
    differences = [x[i] - x[j] for i, j in combinations(range(len(x)), 2)]
    rho = [intra_class(d, topic) for d in differences]
    size = len(topic) / len(np.unique(topic))
    ratio = [error_ratio(d, topic, np.random.default_rng(i)) for i, d in enumerate(differences)]
    low, high = np.percentile(rho, [5, 95])
    figures = [f"{np.mean(rho):.3f} [{low:.3f}, {high:.3f}]", f"{1 + (size - 1) * np.mean(rho):.2f}"]
    return [folder, str(len(x)), str(len(topic)), str(len(np.unique(topic))), *figures, f"{np.mean(ratio):.2f}"]


def main() -> None:
    """Writes the page and prints it."""
    heads = ["results", "SAEs", "subtopics", "topics", "rho, mean [5 %, 95 %]", "design effect", "ratio of errors"]
    words = (
        "\n\n".join((__doc__ or "").split("\n\n")[1:]).replace(" Writes results/simulations/clusters.md.", "").strip()
    )
    table = tabulate([line(f) for f in FOLDERS], heads, tablefmt="github", disable_numparse=True)
    about = f"Printed by `python -m tests.experiments.topic_clusters`; {METRIC} of concept detection."
    page = f"# Are concepts of one topic independent units?\n\n{about}\n\n{words}\n\n{table}\n"
    write_text(ROOT / "results" / "simulations" / "clusters.md", page)
    print(page)


if __name__ == "__main__":
    main()
