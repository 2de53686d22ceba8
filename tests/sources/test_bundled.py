"""The bundled concept texts: labels, parts, no text twice, what `where` asks for."""

import re
from collections import Counter, defaultdict
from itertools import combinations

import numpy as np
import pytest

from saebench_lite.api import registered
from saebench_lite.bundled import ROOT, concept_texts
from saebench_lite.errors import SaebenchError
from saebench_lite.sources.bundled import load

DATA = load("", None)
TEXTS = DATA.texts[0].texts
TOPICS = sorted(path.stem for path in (ROOT / "concepts").glob("*.txt"))
UNITS = {c.name: c for c in DATA.concepts}


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def texts_of(name: str) -> set[str]:
    return {TEXTS[i] for i in UNITS[name].rows[UNITS[name].positive]}


def test_counts():
    assert len(TOPICS) == 12
    assert [c.name for c in DATA.concepts][:12] == TOPICS
    assert Counter(name.partition("/")[0] for name in UNITS if "/" in name) == dict.fromkeys(TOPICS, 9)
    assert len(UNITS) == len(DATA.concepts) == 120
    assert [d.name for d in DATA.datasets] == TOPICS  # probed are the topics alone unless others are named
    assert len(load("*", None).datasets) == 120
    assert all(c.corpus is DATA.texts[0] for c in DATA.concepts)
    assert all(re.fullmatch(r"[a-z]+(/[a-z_]+)?", name) for name in UNITS)
    assert f"{len(TEXTS):,} texts" in registered.source("bundled").description
    assert len(TEXTS) < 3200


def test_no_text_twice_or_nearly():
    """Of two texts' runs of five words they share less than a fifth."""
    assert len(set(TEXTS)) == len(TEXTS)
    runs = [{tuple(w[i : i + 5]) for i in range(len(w) - 4)} for w in map(words, TEXTS)]
    assert min(map(len, runs)) >= 5
    holders = defaultdict(list)
    for row, some in enumerate(runs):
        for run in some:
            holders[run].append(row)
    shared = Counter(pair for rows in holders.values() for pair in combinations(rows, 2))
    assert max(n / min(len(runs[a]), len(runs[b])) for (a, b), n in shared.items()) < 0.2


def test_no_test_text_is_nearly_a_training_text():
    """Words longer than three letters: at most half of those of both texts are shared."""
    long_words = [frozenset(w for w in words(t) if len(w) > 3) for t in TEXTS]
    part = UNITS["animals"].part
    assert part is not None
    train, test = ([w for w, p in zip(long_words, part, strict=True) if p == name] for name in ("train", "test"))
    assert max(len(a & b) / max(1, len(a | b)) for a in test for b in train) <= 0.5


def test_every_text_has_one_part_and_every_concept_enough_of_both():
    for concept in DATA.concepts:
        assert concept.part is not None
        assert concept.rows.tolist() == list(range(len(TEXTS)))
        assert concept.part.tolist() == UNITS["animals"].part.tolist()  # type: ignore[union-attr]
        counts = [int((concept.positive & (concept.part == name)).sum()) for name in ("train", "test")]
        least = (16, 8) if "/" in concept.name else (160, 80)
        assert counts[0] >= least[0], concept.name
        assert counts[1] >= least[1], concept.name


def test_labels_are_those_of_the_files():
    """Read by a plain loop over the lines; a topic is its subtopics and the lines above the first heading."""
    for topic in TOPICS:
        sections: dict[str, list[str]] = {"": []}
        heading = ""
        for line in (ROOT / "concepts" / f"{topic}.txt").read_text(encoding="utf-8").split("\n"):
            if line[:3] == "## ":
                heading = line[3:]
                assert heading not in sections
                sections[heading] = []
            elif line != "":
                assert line == line.strip()
                sections[heading].append(line)
        assert concept_texts()[topic] == sections
        assert texts_of(topic) == {text for lines in sections.values() for text in lines}
        for subtopic, lines in list(sections.items())[1:]:
            assert texts_of(f"{topic}/{subtopic}") == set(lines)
    assert np.all(np.sum([UNITS[topic].positive for topic in TOPICS], axis=0) == 1)
    assert np.all(np.sum([c.positive for name, c in UNITS.items() if "/" in name], axis=0) <= 1)


def test_the_third_of_three_texts_is_for_testing():
    """Alternating parts within a section, so that an added line moves no other text above it."""
    part = UNITS["law/family"].part
    assert part is not None
    rows = np.flatnonzero(UNITS["law/family"].positive)
    assert part[rows].tolist() == (["train", "train", "test"] * len(rows))[: len(rows)]


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("topics", TOPICS),
        ("law", ["law"]),
        ("weather/*,law", ["law", *sorted(n for n in UNITS if n.startswith("weather/"))]),
        ("*/history", ["astronomy/history", "software/history"]),
    ],
)
def test_where(where, names):
    got = load(where, None)
    assert [d.name for d in got.datasets] == [c.name for c in got.concepts] == names
    assert got.texts[0].fingerprint == DATA.texts[0].fingerprint
    assert [d.fingerprint for d in got.datasets] == [UNITS[n].fingerprint for n in names]
    assert [d.name for d in load(where, 1).datasets] == names[:1]


def test_a_name_that_is_not_there():
    with pytest.raises(SaebenchError, match=r"bundled has no dataset 'animals/bird'; did you mean animals/birds"):
        load("law,animals/bird", None)
