"""No text on both sides of a split, and no two data sets of one name."""

import dataclasses

import numpy as np
import pytest

from saebench_lite.data.names import told_apart
from saebench_lite.data.splits import detection_split, split_of, without_repeats
from saebench_lite.data.types import Corpus, Data, Labelled
from saebench_lite.errors import SaebenchError

TEXTS = Corpus("t", tuple(f"text {i}" for i in range(60)))


def labelled(name="t", rows=None, part=None) -> Labelled:
    rows = np.arange(60) if rows is None else np.asarray(rows)
    return Labelled(name, TEXTS, rows, rows % 2 == 0, part)


def data(*names: str, name="train") -> Data:
    sets = tuple(labelled(n) for n in names)
    return Data(name, datasets=sets, concepts=sets, texts=(TEXTS,))


def test_a_text_is_on_one_side_however_often_it_stands():
    repeated = labelled(rows=list(range(60)) * 5)
    kept, notes = without_repeats(repeated)
    assert notes == ["t: 240 of 300 rows left out, for their text is there already or carries both labels"]
    for split in (split_of(kept, 0), detection_split(kept, 0)):
        assert not set(kept.rows[split.train]) & set(kept.rows[split.test])
    raw = split_of(repeated, 0)
    assert set(repeated.rows[raw.train]) & set(repeated.rows[raw.test])  # what it is there for


def test_a_given_part_is_kept_where_the_text_stands_first():
    part = np.array(["train"] * 60 + ["test"] * 60)
    both = Labelled("t", TEXTS, np.tile(np.arange(60), 2), np.tile(np.arange(60) % 2 == 0, 2), part)
    kept, notes = without_repeats(both)
    assert kept.part is not None
    assert set(kept.part) == {"train"}
    assert len(notes) == 1


def test_a_text_with_both_labels_teaches_nothing():
    rows = np.concatenate([np.arange(60), [3, 4]])
    positive = np.concatenate([np.arange(60) % 2 == 0, [True, False]])  # against what rows 3 and 4 said
    kept, notes = without_repeats(Labelled("t", TEXTS, rows, positive))
    assert not {3, 4} & set(kept.rows)
    assert notes == ["t: 4 of 62 rows left out, for their text is there already or carries both labels"]


def test_data_without_repeats_stay_the_very_same():
    once = labelled()
    kept, notes = without_repeats(once)
    assert kept is once
    assert notes == []


def test_two_files_of_one_name_are_told_apart_by_their_folders():
    a, b = told_apart([data("train"), data("train")], ["local:imdb/train.csv", "local:sst/train.csv?label=y"])
    assert [d.name for d in (*a.datasets, *b.datasets)] == ["imdb/train", "sst/train"]
    assert [c.name for c in a.concepts] == ["imdb/train"]
    assert a.datasets[0].fingerprint == labelled().fingerprint


def test_only_names_that_clash_change():
    a, b = told_apart([data("train: x", "train: y"), data("train: x", "other")], ["local:a/t.csv", "local:b/t.csv"])
    assert [d.name for d in (*a.datasets, *b.datasets)] == ["a/train: x", "train: y", "b/train: x", "other"]
    (same,) = told_apart([data("train")], ["local:a/train.csv"])
    assert same == data("train") or same.datasets[0].name == "train"


@pytest.mark.parametrize(
    "specs", [["local:train.csv", "local:train.tsv"], ["local:x/train.csv", "local:y/x/train.csv"]]
)
def test_names_that_stay_the_same_are_refused_before_the_work(specs):
    with pytest.raises(SaebenchError, match=r"two data sets are called '.*train'; rename a file or a label"):
        told_apart([data("train"), data("train")], specs)
    twice = dataclasses.replace(data("train"), datasets=(labelled("a"), labelled("a")))
    with pytest.raises(SaebenchError, match="two data sets are called 'a'"):
        told_apart([twice], ["bundled"])
