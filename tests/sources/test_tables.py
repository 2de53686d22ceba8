"""Tables as people save them: nothing merged, shifted, renumbered or made up without a sentence."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from saebench_lite.errors import SaebenchError
from saebench_lite.sources import local
from saebench_lite.sources._labels import class_names, plain_texts
from saebench_lite.sources._tables import options, read_table

ROWS = [(f"text number {i} here", i % 2) for i in range(24)]
CSV = "text,label\n" + "".join(f"{t},{label}\n" for t, label in ROWS)
JSONL = "".join(json.dumps({"text": t, "label": label}) + "\n" for t, label in ROWS)


def loaded(tmp_path, name, content, query="", limit=None):
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / name).write_bytes(data)
    return local.load(str(tmp_path / name) + query, limit)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("A.CSV", CSV),
        ("a.csv", CSV.replace("\n", "\r\n")),
        ("a.csv", b"\xef\xbb\xbf" + CSV.encode()),
        ("a.csv", CSV.encode("utf-16")),
        ("a.csv", CSV.replace(",", ";")),
        ("a.csv.gz", gzip.compress(CSV.encode())),
        ("a.tsv", CSV.replace(",", "\t")),
        ("a.jsonl", JSONL),
        ("a.ndjson", JSONL),
        ("a.jsonl", b"\xef\xbb\xbf" + JSONL.encode()),
        ("a.jsonl.gz", gzip.compress(JSONL.encode())),
        ("a.json", json.dumps([{"text": t, "label": label} for t, label in ROWS])),
    ],
)
def test_every_ordinary_form_is_the_same_table(tmp_path, name, content):
    (only,) = loaded(tmp_path, name, content).datasets
    assert only.corpus.texts == tuple(t for t, _ in ROWS)
    assert only.positive.tolist() == [label == 1 for _, label in ROWS]


def test_a_lone_quotation_mark_belongs_to_its_text(tmp_path):
    rows = [('" ' if i in (3, 17) else "") + t + f"\t{label}" for i, (t, label) in enumerate(ROWS)]
    (only,) = loaded(tmp_path, "a.tsv", "text\tlabel\n" + "\n".join(rows)).datasets
    assert len(only.corpus.texts) == len(ROWS)
    assert only.corpus.texts[3].startswith('" text')


def test_a_quoted_tsv_is_unquoted(tmp_path):
    lines = [f'"{t}\ttabbed"\t"{label}"' for t, label in ROWS]
    (only,) = loaded(tmp_path, "a.tsv", "text\tlabel\n" + "\n".join(lines)).datasets
    assert only.corpus.texts[0] == "text number 0 here\ttabbed"


def test_texts_keep_the_form_of_numbers(tmp_path):
    lines = "".join(f"{i:05d},{i % 2}\n{i:03d}e{i % 7},{i % 2}\n" for i in range(40))
    texts = loaded(tmp_path, "a.csv", "text,label\n" + lines).texts[0].texts
    assert len(texts) == 80
    assert {"00012", "012e5"} <= set(texts)


@pytest.mark.parametrize("gone", ["", "NaN", "N/A", "null", "None"])
def test_rows_without_a_label_are_left_out_and_said(tmp_path, gone):
    lines = "".join(f"{t},{gone if i % 6 == 0 else label}\n" for i, (t, label) in enumerate(ROWS))
    data = loaded(tmp_path, "a.csv", "text,label\n" + lines)
    assert len(data.datasets) == 1
    assert len(data.datasets[0].rows) == 20
    assert data.notes == ("a: 4 rows without a label left out",)


def test_missing_labels_of_other_formats(tmp_path):
    pairs = [(t, None if i % 6 == 0 else label) for i, (t, label) in enumerate(ROWS)]
    lines = "".join(json.dumps({"text": t, "label": label}) + "\n" for t, label in pairs)
    pd.DataFrame(pairs, columns=["text", "label"]).to_parquet(tmp_path / "b.parquet")
    for data in (loaded(tmp_path, "a.jsonl", lines), local.load(str(tmp_path / "b.parquet"), None)):
        assert [len(d.rows) for d in data.datasets] == [20]


def test_one_class_however_it_is_spelt():
    assert class_names([1, 1.0, "1", "1.0", True, np.int64(1), np.float32(1)], "a") == [frozenset({"1"})] * 7
    assert class_names([True, False], "a") == [frozenset({"True"}), frozenset({"False"})]
    assert class_names(["1.50", "v1.0", "yes ", -2.0], "a") == [frozenset({c}) for c in ("1.50", "v1.0", "yes", "-2")]


def test_label_lists_are_one_question_a_label(tmp_path):
    lines = [
        {"text": t, "label": ["joy" if label else "sad"] + (["work"] if i % 3 == 0 else [])}
        for i, (t, label) in enumerate(ROWS)
    ]
    data = loaded(tmp_path, "a.jsonl", "\n".join(map(json.dumps, lines)))
    assert {d.name: int(d.positive.sum()) for d in data.datasets} == {"a: joy": 12, "a: sad": 12, "a: work": 8}


def test_a_class_with_one_text_stops_no_other(tmp_path):
    lines = "".join(f"{t},{'ab'[label]}\n" for t, label in ROWS) + "one odd text,c\n"
    data = loaded(tmp_path, "a.csv", "text,label\n" + lines)
    assert [d.name for d in data.datasets] == ["a: a", "a: b"]
    assert data.notes == ("a: label 'c' left out, 1 texts are too few to learn and to judge",)


@pytest.mark.parametrize(("train", "test"), [("Train", "validation"), ("train", "dev"), ("TRAIN", "test")])
def test_parts_in_usual_spellings(tmp_path, train, test):
    lines = "".join(f"{t},{label},{train if i < 12 else test}\n" for i, (t, label) in enumerate(ROWS))
    (only,) = loaded(tmp_path, "a.csv", "text,label,split\n" + lines, "?split=split").datasets
    assert only.part is not None
    assert only.part.tolist() == ["train"] * 12 + ["test"] * 12


def test_options():
    assert options("p?text=Q&A&label=l", ("text", "label")) == ("p", {"text": "Q&A", "label": "l"})
    with pytest.raises(SaebenchError, match=r"option 'labels' of 'p\?labels=x' is not known; did you mean label\?"):
        options("p?labels=x", ("text", "label"))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", "text,label\nx,y,0\nz,1\n", "line 2 has 3 fields where the header has 2"),
        ("a.csv", "text,label\nz,1\nx\n", "line 3 has 1 fields"),
        ("a.csv", 'text,label\n"open,1\nx,0\n', "cannot be read from line 2 on"),
        ("a.csv", "text,text\na,b\n", "two columns called 'text'"),
        ("a.csv", "", "is empty"),
        ("a.csv", b"text,label\n\xff\xfe\xfa,1\n", "is not UTF-8 at byte 11"),
        ("a.csv.gz", b"no gzip", "cannot be read"),
        ("a.jsonl", '{"text": "a"}\n{"text"\n', "line 2 is not JSON"),
        ("a.json", '{"text": "a"}', "holds no rows"),
        ("a.jsonl", '{"text": [{"role": "user", "content": "hi"}], "label": 1}\n', "line 1 holds a list or an object"),
        ("a.jsonl", '{"text": "t", "label": {"a": 1}}\n', "labels that are objects"),
        ("a.csv", "text,label\n" + "".join(f"t{i},{i / 7}\n" for i in range(50)), "labels with decimals"),
        ("a.csv", "text,label\n" + "".join(f"t{i},c{i // 2}\n" for i in range(4000)), "has 2000 labels; give --limit"),
        ("a.csv", "text,label\n" + "".join(f"t{i},{i}\n" for i in range(9)), "no label with 4 texts"),
    ],
)
def test_what_is_refused_in_a_sentence(tmp_path, name, content, sentence):
    with pytest.raises(SaebenchError, match=sentence) as caught:
        loaded(tmp_path, name, content)
    assert "\n" not in str(caught.value)


def test_bytes_are_no_text():
    with pytest.raises(SaebenchError, match="row 0 holds bytes"):
        plain_texts([b"x"], "a")


def test_columns_are_plain_lists(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nx,1\n")
    assert read_table(tmp_path / "a.csv") == {"text": ["x"], "label": ["1"]}


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.jsonl", '{"text": "x", "label": 1}\n\n{"text": [1], "label": 0}\n', 3),
        ("a.jsonl", '{"text": "x", "label": 1}\n\n{"text\n', 3),
    ],
)
def test_errors_name_the_line_of_the_file(tmp_path, name, text, line):
    (tmp_path / name).write_text(text)
    with pytest.raises(SaebenchError, match=rf"^a(\.\w+)? line {line} (holds a list|is not JSON)"):
        local.load(str(tmp_path / name), None)


MORE = [(f"{label} {i}", label) for i in range(4) for label in "ab"]


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("a.csv", 'text,label\n"two\nlines",a\n\nb,b\n ,a\n,b\n', "line 6"),  # a blank line, a text of two lines
        ("a.tsv", "text\tlabel\nx\ta\n\n\tb\n\tb\n", "line 4"),
        (
            "a.jsonl",
            '{"text": "x", "label": "a"}\n\n{"text": "", "label": "a"}\n{"text": null, "label": "b"}\n',
            "line 3",
        ),
    ],
)
def test_rows_without_a_text_are_left_out_and_the_first_is_named(tmp_path, name, text, place):
    """One empty cell stopped the run."""
    write = {"a.csv": "{},{}", "a.tsv": "{}\t{}", "a.jsonl": '{{"text": "{}", "label": "{}"}}'}[name].format
    (tmp_path / name).write_text(text + "".join(write(*row) + "\n" for row in MORE))
    data = local.load(str(tmp_path / name), None)
    assert data.notes == (f"a: rows without a text left out: 2, the first {place}",)
    (labelled,) = data.datasets
    texts = labelled.corpus.texts
    assert all(t.strip() for t in texts)
    said = [(texts[row], yes) for row, yes in zip(labelled.rows, labelled.positive, strict=True)]
    assert [pair for pair in said if pair[0][0] in "ab" and " " in pair[0]] == [(t, label == "b") for t, label in MORE]


def test_rows_that_are_no_lines_are_counted_from_0(tmp_path):
    rows = [{"text": t, "label": label} for t, label in [("x", "a"), ("", "a"), *MORE]]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    assert local.load(str(tmp_path / "a.json"), None).notes == ("a: rows without a text left out: 1, the first row 1",)


def test_an_empty_text_without_a_label_is_left_out(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n,\n" + "".join(f"t{i},{i % 2}\n" for i in range(8)))
    data = local.load(str(tmp_path / "a.csv"), None)
    assert len(data.texts[0].texts) == 8
    assert data.notes == ("a: 1 rows without a label left out",)


def test_texts_without_labels(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo\none\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text("body,label\none,x\n,y\ntwo,\n")
    for where in ("a.txt", "b.csv?text=body&label="):
        data = local.load(str(tmp_path / where), None)
        assert [c.texts for c in data.texts] == [("one", "two")]
        assert data.datasets == data.concepts == ()
    with pytest.raises(SaebenchError, match=r"a\.txt has a text a line and no columns; leave \?text= out"):
        local.load(f"{tmp_path / 'a.txt'}?text=x", None)
    with pytest.raises(SaebenchError, match=r"there is no file .*/c\.txt"):
        local.load(str(tmp_path / "c.txt"), None)
