"""What a run of a model with an attention sink says and records, and which runs share a table."""

import logging

import pytest

from saebench_lite.errors import SaebenchError
from saebench_lite.records.record import Record
from saebench_lite.records.selection import site_title
from saebench_lite.report.leaderboard import leaderboard_text
from saebench_lite.runs.runner import run
from tests.conftest import HOOK
from tests.helpers.planted_sink import planted, tokens

SETTINGS = {"reconstruction": {"max_tokens": 2000, "blocks": 2}}


@pytest.fixture(scope="module")
def stop(pico) -> int:
    return pico.tokenizer.get_vocab()["."]


def go(lm, few_texts, sae, out, bos: str = "auto") -> Record:
    sae.meta["token_rule"] = "no-special-tokens"
    (record,) = run(
        {"random8": sae},
        model=lm,
        hook=HOOK,
        data=few_texts,
        tasks=["reconstruction"],
        baselines=[],
        settings=SETTINGS,
        out=out,
        cache=out / "cache",
        bos=bos,
    )
    return record


def notes(record: Record) -> list[str]:
    assert record.provenance is not None
    return record.provenance.notes


def test_a_sink_is_said_recorded_and_never_mixed_with_another_rule(pico, stop, few_texts, sae, tmp_path, caplog):
    caplog.set_level(logging.INFO, "saebench_lite")
    left_out = go(planted(pico, tokens(stop)), few_texts, sae, tmp_path)
    said = [m for m in caplog.messages if "attention sinks" in m]
    assert len(said) == 1
    assert said[0].startswith(f"planted, {HOOK}: ")
    assert "tokens with a norm over 10 times the median of" in said[0]
    assert said[0].endswith("% of a sample) are left out of every statistic")
    assert left_out.site.token_rule == "no-special-tokens,norm<=10xmedian"
    assert any("tokens (" in note and "left out by the token rule" in note for note in notes(left_out))
    assert any("metadata name the token rule 'no-special-tokens'" in note for note in notes(left_out))
    caplog.clear()
    read = go(planted(pico, tokens(stop), leave_out="special"), few_texts, sae, tmp_path)
    assert any(m.endswith("% of a sample) are read all the same") for m in caplog.messages)
    assert read.site.token_rule == "no-special-tokens"
    assert not notes(read)
    assert left_out.digest != read.digest
    assert left_out.scores["explained_variance"] != read.scores["explained_variance"]
    table = leaderboard_text([left_out, read])
    assert [line for line in table.splitlines() if line.startswith("#")].count(f"### {site_title(read)}") == 1
    assert site_title(left_out) == f"{site_title(read)} · tokens norm<=10xmedian"
    assert site_title(left_out) in table


def test_a_model_object_has_its_rule_already(pico, few_texts, sae, tmp_path):
    with pytest.raises(SaebenchError, match="are not those of the model object pico; give its name, or load it with"):
        go(pico, few_texts, sae, tmp_path, bos="none")
    assert go(pico, few_texts, sae, tmp_path).site.token_rule == "no-special-tokens"
