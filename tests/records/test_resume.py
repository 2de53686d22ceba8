"""A run in a folder with records of schema 1 takes them as they are and computes nothing again."""

import json

from saebench_lite.records.record import Record, read_all
from saebench_lite.records.verify import verify
from saebench_lite.runs import evaluate
from saebench_lite.runs.runner import run
from tests.conftest import HOOK
from tests.records.test_record import write_schema1

SETTINGS = {"reconstruction": {"max_tokens": 2000, "blocks": 4}}


def test_records_of_schema_1_are_resumed(pico, concepts, sae, tmp_path, monkeypatch):
    def go() -> list[Record]:
        return run(
            {"sae": sae},
            model=pico,
            hook=HOOK,
            data=concepts,
            out=tmp_path,
            tasks=["reconstruction"],
            baselines=["neurons"],
            settings=SETTINGS,
        )

    first = go()
    assert {r.subject.kind for r in first} == {"sae", "dictionary baseline"}
    assert {r.site.token_rule for r in first} == {"no-special-tokens"}
    for r in first:
        assert set(r.task.metrics) == set(r.scores) == set(r.per_unit)
        assert json.loads(r.path(tmp_path).read_text())["schema"] == 2
    assert [f for f in verify(tmp_path)[1] if "edited checkout" not in f] == []
    old = []
    for r in first:
        r.path(tmp_path).unlink()
        old.append(write_schema1(r, tmp_path))
    with monkeypatch.context() as m:
        m.setattr(evaluate, "summarise", None)  # to compute anything again would fail
        assert go() == first
    assert sorted((tmp_path / "records").rglob("*.json")) == sorted(old)
    assert read_all(tmp_path)[1] == []
