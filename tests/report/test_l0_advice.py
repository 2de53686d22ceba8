"""Advice on the L0 of a family of SAEs, from records of given values."""

import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from saebench_lite.cli.main import app
from saebench_lite.errors import SaebenchError
from saebench_lite.records.record import Record
from saebench_lite.report.l0_advice import TASK, advice, joint, to_rows, to_text
from tests.helpers.record_factory import made_up

METRICS = {"c_dec": "neither", "s_n_dec": "neither", "l0": "neither", "average_precision_max": "higher"}


def diagnosed(l0: int, c_dec: float, s_n: float | None = None, *, seed: int = 0, **changed: object) -> Record:
    """A record of an SAE whose values differ a little between 40 units."""
    noise = 0.01 * np.sin(np.arange(40.0) + l0 + 7 * seed)[:, None]
    values = {"c_dec": c_dec + noise, "l0": np.full((40, 1), float(l0)) + 0.01 * seed}
    values |= {} if s_n is None else {"s_n_dec": s_n + noise}
    recipe = {"architecture": "topk", "l0": l0, "seed": seed, **changed}
    meta = {"recipe": recipe, "d_sae": 512}
    name = f"{recipe['architecture']}_{l0}_{seed}"
    return made_up(name, values, task=TASK, seeds=(), meta=meta, metrics=METRICS)  # type: ignore[arg-type]


def family(c_dec: list[float], s_n: list[float | None]) -> list[Record]:
    return [diagnosed(l0, c, s) for l0, c, s in zip((4, 8, 16, 32, 64), c_dec, s_n, strict=True)]


DIP = [0.9, 0.5, 0.2, 0.4, 0.8]


def test_a_minimum_within_the_family_gives_three_verdicts():
    (found,) = advice(family(DIP, [2.9, 2.4, 2.2, 2.3, 2.5]))
    assert found.l0 == [4, 8, 16, 32, 64]
    assert found.verdicts == ["too low", "too low", "plausible", "too high", "too high"]
    assert "it may be least at L0 16, and is not at either end" in found.sentences[0]
    assert "no L0 has two training seeds" in found.sentences[2]
    values = np.array([diagnosed(16, 0.2).scores["c_dec"].value])
    assert found.curves[0].values[2] == pytest.approx(values[0])


@pytest.mark.parametrize(
    ("c_dec", "verdicts", "words"),
    [
        ([0.9, 0.7, 0.5, 0.3, 0.2], ["too low"] * 4 + ["cannot say"], "the upper end of the family, or beyond"),
        ([0.1, 0.3, 0.5, 0.7, 0.8], ["cannot say"] + ["too high"] * 4, "the lower end of the family, or below"),
        ([0.3] * 5, ["cannot say"] * 5, "flat within noise"),
        ([0.2, 0.9, 0.2, 0.9, 0.2], ["cannot say"] * 5, "more than one dip"),
    ],
)
def test_what_an_edge_a_flat_curve_and_two_dips_leave_open(c_dec: list[float], verdicts: list[str], words: str):
    (found,) = advice(family(c_dec, [None] * 5))
    assert found.verdicts == verdicts
    assert words in found.sentences[0]
    assert "s_n_dec is missing" in found.sentences[1]


def test_two_statistics_with_other_minima_are_believed_on_what_they_share():
    (found,) = advice(family(DIP, [0.9, 0.8, 0.7, 0.5, 0.2]))
    assert found.verdicts == ["too low", "too low", "statistics disagree", "statistics disagree", "cannot say"]
    assert joint([["below", "unknown"], ["unknown", "unknown"]]) == ["too low", "cannot say"]
    assert joint([["below", "at", "above"], ["unknown", "above", "above"]]) == [
        "cannot say",
        "statistics disagree",
        "too high",
    ]


def test_minima_at_the_two_ends_of_the_family_disagree_though_no_level_has_two_verdicts():
    records = [diagnosed(l0, c, s) for l0, c, s in zip((8, 16, 32), (0.9, 0.6, 0.3), (0.3, 0.3, 0.9), strict=True)]
    (found,) = advice(records)
    assert [c.sides for c in found.curves] == [["below", "below", "unknown"], ["unknown", "unknown", "above"]]
    assert found.verdicts == ["cannot say"] * 3  # too low, too low, too high
    assert [s for s in found.sentences if "disagree" in s] == [
        "s_n_dec and c_dec disagree: the first is least at a lower L0; neither is believed alone"
    ]
    (same,) = advice(family(DIP, [2.9, 2.4, 2.2, 2.3, 2.5]))
    assert not any("disagree" in s for s in same.sentences)


def test_training_seeds_that_differ_more_than_l0_does_leave_nothing_to_say():
    quiet = family(DIP, [None] * 5)
    loud = [diagnosed(l0, c + 3, seed=1) for l0, c in zip((4, 8, 16, 32, 64), DIP, strict=True)]
    (found,) = advice(quiet + loud)
    assert found.saes[0] == ["topk_4_0", "topk_4_1"]
    assert found.verdicts == ["cannot say"] * 5
    assert any("5 degrees of freedom" in s for s in found.sentences)


def test_other_architectures_and_settings_are_families_of_their_own_and_two_levels_are_none():
    records = [
        *family(DIP, [None] * 5),
        diagnosed(8, 0.5, architecture="relu"),
        diagnosed(16, 0.2, architecture="relu"),
    ]
    first, second = advice(records)
    assert (first.architecture, second.architecture) == ("topk", "relu")
    assert second.verdicts == ["cannot say", "cannot say"]
    assert "has 2" in second.sentences[0]
    frozen = [diagnosed(4, 0.1, frozen="decoder", architecture="x")]
    assert len(advice(records + frozen)) == 2
    other = [dataclasses.replace(r, settings={"share": 0.2}) for r in records[:5]]
    assert len(advice(records + other)) == 3


def test_where_probing_is_best_stands_beside():
    records = family(DIP, [None] * 5)
    probed = [
        made_up(r.subject.name, {"average_precision_max": np.full((12, 3), ap)}, metrics=METRICS)  # type: ignore[arg-type]
        for r, ap in zip(records, (0.4, 0.6, 0.5, 0.3, 0.2), strict=True)
    ]
    (found,) = advice(records + probed)
    assert "best at L0 8, which the diagnostics call too low" in found.sentences[-1]
    (found,) = advice(records + probed[1:])
    assert not any("One latent" in s for s in found.sentences)


def test_order_of_records_does_not_matter():
    records = family(DIP, [2.9, 2.4, 2.2, 2.3, 2.5])
    assert to_text(advice(records)) == to_text(advice(records[::-1]))


def test_without_records_or_metadata_a_sentence_says_what_to_run():
    with pytest.raises(SaebenchError, match="run it with --tasks l0_diagnostics"):
        advice([made_up("a", {"auroc": np.ones((3, 3))})])
    bare = [dataclasses.replace(r, subject=dataclasses.replace(r.subject, meta={})) for r in family(DIP, [None] * 5)]
    with pytest.raises(SaebenchError, match="tells its architecture and L0"):
        advice(bare)


def test_the_command_prints_tables_or_json(tmp_path):
    for record in family(DIP, [2.9, 2.4, 2.2, 2.3, 2.5]):
        record.save(tmp_path)
    text = CliRunner().invoke(app, ["advise-l0", str(tmp_path)])
    assert text.exit_code == 0, text.output
    assert "| plausible" in text.output
    got = CliRunner().invoke(app, ["advise-l0", str(tmp_path), "--json"])
    (found,) = json.loads(got.output)
    assert [level["verdict"] for level in found["levels"]][2] == "plausible"
    assert found["levels"][0]["c_dec"]["says"] == "too low"
    assert to_rows(advice(family(DIP, [2.9, 2.4, 2.2, 2.3, 2.5])))[0]["levels"] == found["levels"]
