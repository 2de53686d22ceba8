"""Exports are read back by the libraries they are for, and hold the figures of the records."""

import dataclasses
import json
import re
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCardData
from huggingface_hub.repocard_data import model_index_to_eval_results

from saebench_lite.errors import SaebenchError
from saebench_lite.records.metric import Better
from saebench_lite.records.record import Record
from saebench_lite.records.types import Kind
from saebench_lite.records.verdicts import shipped_verdicts
from saebench_lite.report import parquet
from saebench_lite.report.exports import Export, export
from saebench_lite.report.rows import long_rows
from tests.conftest import ROOT
from tests.helpers.record_factory import made_up

UNITS = np.array([[0.1, 0.3], [0.5, 0.7], [0.6, 0.8]])
CORE = {
    "reconstruction": {
        "cosine": 0.1,
        "l2_ratio": 0.2,
        "relative_bias": 0.3,
        "l0": 4.0,
        "l1": 5.0,
        "saebench_explained_variance": 0.6,
        "saebench_mse": 0.7,
        "explained_variance": 0.65,
    },
    "ce_delta": {"kl": 0.8, "loss_recovered": 0.9, "ce_zero": 10.0, "ce_spliced": 11.0, "ce_clean": 12.0},
}


def of_task(name: str, task: str, values: Mapping[str, np.ndarray], kind: Kind = "sae", **changes) -> Record:
    better: dict[str, Better] = dict.fromkeys(values, "higher")
    seeds = (7, 8) if next(iter(values.values())).shape[1] == 2 else ()
    return made_up(name, values, task=task, kind=kind, seeds=seeds, metrics=better, meta={"d_sae": 64}, **changes)


def exported(name: str = "mine", **changes) -> list[Record]:
    """An SAE on all tasks that SAEBench knows, and its baseline."""
    probing = {"accuracy_k1_mean": UNITS, "accuracy_k5_mean": UNITS + 0.1, "accuracy_k5_max": UNITS}
    absorbed = {"absorption_fraction": UNITS, "full_absorption": UNITS / 2, "splits": 10 * UNITS}
    absorption = of_task(name, "absorption", absorbed, **changes)
    letters = {m: dataclasses.replace(u, units=["A", "B", "C"]) for m, u in absorption.per_unit.items()}
    return [
        of_task(name, "sparse_probing", probing, date="2025-01-02T00:00:00Z", **changes),
        dataclasses.replace(absorption, per_unit=letters),
        *(of_task(name, t, {m: np.array([[v]]) for m, v in of.items()}, **changes) for t, of in CORE.items()),
        of_task("logistic", "sparse_probing", {m: UNITS * 0 + 0.9 for m in probing}, kind="baseline", **changes),
    ]


def test_parquet_reads_back_as_the_rows(tmp_path: Path):
    from pyarrow import parquet as reader

    records = [*exported("=a,\n$b"), *exported("b")]
    (out,) = export(records, "parquet", tmp_path / "new" / "a.parquet")
    table = reader.read_table(out)
    rows = long_rows(records, shipped_verdicts())
    assert table.to_pylist() == rows
    kinds = {name: str(table.schema.field(name).type) for name in rows[0]}
    known = {"string": str, "int64": int, "double": float}
    for name, kind in kinds.items():
        held = {type(row[name]) for row in rows} - {type(None)}
        assert held <= {known[kind]}, name
    assert {"value", "low", "reseed_sd"} <= {n for n, kind in kinds.items() if kind == "double"}
    assert {"version", "n", "rank_low"} <= {n for n, kind in kinds.items() if kind == "int64"}


def test_every_column_is_explained():
    told = set(re.findall(r"`([a-z0-9_]+)`", (ROOT / "docs" / "exports.md").read_text()))
    assert set(long_rows(exported(), shipped_verdicts())[0]) <= told


def test_rows_tell_runs_apart():
    """The same SAE in another precision and under other settings has rows of its own, which say so."""
    (first,) = (r for r in exported() if r.task.name == "reconstruction")
    coarse = dataclasses.replace(first, site=dataclasses.replace(first.site, dtype="bfloat16"))
    more = dataclasses.replace(first, settings={"max_tokens": 7})
    rows = long_rows([first, coarse, more], shipped_verdicts())
    assert {(row["dtype"], row["settings"]) for row in rows} == {
        ("float32", "max_tokens none"),
        ("bfloat16", "max_tokens none"),
        ("float32", "max_tokens 7"),
    }
    assert {(row["d_sae"], row["l0"]) for row in rows} == {(64, 4.0)}


def test_parquet_spells_half_a_surrogate_pair(tmp_path: Path):
    from pyarrow import parquet as reader

    rows = [{"subject": "a\udcff", "value": 0.5, "n": 3}]
    parquet.write_parquet(rows, tmp_path / "a.parquet")
    assert reader.read_table(tmp_path / "a.parquet").to_pylist() == [{"subject": "a\\udcff", "value": 0.5, "n": 3}]


def test_without_pyarrow_one_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        SaebenchError, match=r"^format parquet needs pyarrow, which is not installed; [^\n]* 'saebench-lite\[data\]'$"
    ):
        export(exported(), "parquet", tmp_path / "a.parquet")


def test_a_model_index_is_read_by_huggingface_hub(tmp_path: Path):
    records = [*exported(), *exported("other", hook="h2")]
    written = export(records, "hf", tmp_path, "all")
    assert [p.name for p in written] == ["mine.yaml", "other.yaml"]  # no baseline
    content = yaml.safe_load(written[0].read_text())
    name, results = model_index_to_eval_results(content["model-index"])
    assert name == "mine"
    scored = {
        (r.task.name, m): (s.value, s.low, s.high, s.n, r.digest) for r in exported()[:4] for m, s in r.scores.items()
    }
    got = {}
    for r in results:
        low, high = r.metric_args.get("interval_95", (None, None)) if r.metric_args else (None, None)
        task = (r.task_name or "").removeprefix("saebench-lite ")
        assert r.metric_args is not None
        assert r.dataset_config == f"{task} 1 at h of m"
        got[task, r.metric_type] = (r.metric_value, low, high, r.metric_args["units"], r.metric_args["record"])
    assert set(got) == set(scored)
    for key, (value, low, high, units, digest) in got.items():
        assert (value, units, digest) == (scored[key][0], *scored[key][3:])
        assert (low, high) in ((None, None), scored[key][1:3])
    card = ModelCardData(**yaml.safe_load(written[0].read_text()))
    assert card.model_name == "mine"
    assert len(card.eval_results or []) == len(results)


def test_headline_metrics_alone_unless_all_are_asked_for(tmp_path: Path):
    record = dataclasses.replace(
        exported()[0], task=dataclasses.replace(exported()[0].task, headline=["accuracy_k1_mean"])
    )
    (one,) = export([record], "hf", tmp_path / "headline")
    (every,) = export([record], "hf", tmp_path / "all", "all")
    assert one.read_text().count("record:") == 1
    assert every.read_text().count("record:") == 3


def test_names_that_make_one_file_name_are_kept_apart(tmp_path: Path):
    records = [*exported("a/b"), *exported("a:b")]
    wanted: tuple[tuple[Export, int], ...] = (("hf", 2), ("saebench", 6), ("eee", 2))
    for format, files in wanted:
        written = export(records, format, tmp_path / format)
        assert len(set(written)) == files == len([p for p in (tmp_path / format).rglob("*") if p.is_file()])


REQUIRED = {
    "core": {
        "model_behavior_preservation": {"kl_div_score", "kl_div_with_ablation", "kl_div_with_sae"},
        "model_performance_preservation": {
            "ce_loss_score",
            "ce_loss_with_ablation",
            "ce_loss_with_sae",
            "ce_loss_without_sae",
        },
        "reconstruction_quality": {"explained_variance", "mse", "cossim"},
        "shrinkage": {"l2_norm_in", "l2_norm_out", "l2_ratio", "relative_reconstruction_bias"},
        "sparsity": {"l0", "l1"},
        "token_stats": {"total_tokens_eval_reconstruction", "total_tokens_eval_sparsity_variance"},
        "misc_metrics": {
            "freq_over_1_percent",
            "freq_over_10_percent",
            "normalized_freq_over_1_percent",
            "normalized_freq_over_10_percent",
            "average_max_encoder_cosine_sim",
            "average_max_decoder_cosine_sim",
            "frac_alive",
        },
    },
    "sparse_probing": {"llm": {"llm_test_accuracy"}, "sae": set()},
    "absorption_first_letter": {
        "mean": {
            f"{kind}_{name}"
            for kind in ("mean", "std_dev")
            for name in ("absorption_fraction_score", "full_absorption_score", "num_split_features")
        }
    },
}
"Numbers that the JSON schemas of SAEBench's results require, by evaluation and category."
TOP = {
    "eval_config": dict,
    "eval_id": str,
    "datetime_epoch_millis": int,
    "eval_result_metrics": dict,
    "sae_bench_commit_hash": str,
    "sae_lens_id": str,
    "sae_lens_release_id": str,
    "sae_lens_version": (str, type(None)),
    "sae_cfg_dict": dict,
}
"Keys that they all require."
DETAILS = {
    "sparse_probing": {"dataset_name": str, "llm_test_accuracy": float},
    "absorption_first_letter": {
        "first_letter": str,
        "mean_absorption_fraction": float,
        "full_absorption_rate": float,
        "num_full_absorption": int,
        "num_probe_true_positives": int,
        "num_split_features": int,
    },
}


@pytest.fixture
def results(tmp_path: Path) -> dict[str, dict]:
    written = export(exported(), "saebench", tmp_path)
    assert {p.name for p in written} == {"mine_custom_sae_eval_results.json"}
    return {p.parent.name: json.loads(p.read_text()) for p in written}


@pytest.mark.parametrize("kind", list(REQUIRED))
def test_saebench_results_have_what_its_schemas_require(kind: str, results: dict[str, dict]):
    content = results[kind]
    assert content["eval_type_id"] == kind
    for key, wanted in TOP.items():
        assert isinstance(content[key], wanted), key
    assert set(REQUIRED[kind]) == set(content["eval_result_metrics"])
    for category, names in REQUIRED[kind].items():
        figures = content["eval_result_metrics"][category]
        assert names <= set(figures)
        assert all(isinstance(figures[name], (int, float)) for name in names)
    for detail in content["eval_result_details"]:
        assert all(isinstance(detail[key], wanted) for key, wanted in DETAILS[kind].items())
    assert content["eval_config"]["saebench_lite"]["settings"] == {}


def test_saebench_figures_are_those_of_the_records(results: dict[str, dict]):
    core = results["core"]["eval_result_metrics"]
    assert core["sparsity"] == {"l0": 4.0, "l1": 5.0}
    assert core["shrinkage"] == {
        "l2_norm_in": -1,
        "l2_norm_out": -1,
        "l2_ratio": 0.2,
        "relative_reconstruction_bias": 0.3,
    }
    quality = {"explained_variance": 0.6, "explained_variance_legacy": -1, "mse": 0.7, "cossim": 0.1}
    assert core["reconstruction_quality"] == quality  # theirs, not the centred one
    assert core["model_performance_preservation"] == {
        "ce_loss_score": 0.9,
        "ce_loss_with_ablation": 10.0,
        "ce_loss_with_sae": 11.0,
        "ce_loss_without_sae": 12.0,
    }
    probing = results["sparse_probing"]
    assert probing["datetime_epoch_millis"] == 1735776000000
    assert probing["eval_config"]["k_values"] == [1, 5]
    assert probing["eval_config"]["random_seed"] == 7
    assert probing["eval_result_metrics"]["llm"]["llm_test_accuracy"] == pytest.approx(0.9)
    sae = probing["eval_result_metrics"]["sae"]
    assert (sae["sae_top_1_test_accuracy"], sae["sae_top_2_test_accuracy"]) == (pytest.approx(0.5), None)
    assert probing["eval_result_details"][1]["dataset_name"] == "u1_results"
    assert probing["eval_result_details"][1]["sae_top_5_test_accuracy"] == pytest.approx(0.7)
    mean = results["absorption_first_letter"]["eval_result_metrics"]["mean"]
    assert mean["mean_absorption_fraction_score"] == pytest.approx(0.5)
    assert mean["std_dev_absorption_fraction_score"] == pytest.approx(statistics.stdev([0.2, 0.6, 0.7]))
    letters = results["absorption_first_letter"]["eval_result_details"]
    assert [(d["first_letter"], d["num_split_features"]) for d in letters] == [("A", 2), ("B", 6), ("C", 7)]


def test_saebench_without_a_baseline_or_letters(tmp_path: Path):
    probing, absorption, *_ = exported()
    words = {m: dataclasses.replace(u, units=["cat", "dog", "cow"]) for m, u in absorption.per_unit.items()}
    (only,) = export([probing, dataclasses.replace(absorption, per_unit=words)], "saebench", tmp_path)
    assert json.loads(only.read_text())["eval_result_metrics"]["llm"] == {"llm_test_accuracy": -1}


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        (
            [*exported(), *exported("b", hook="h2")],
            "format saebench has one site a folder, and these records are of several: ",
        ),
        ([*exported(), *exported("b", settings={"k": 2})], "format saebench has one file an SAE, and records of "),
        (exported()[-1:], "no record of an SAE has scores that format saebench can hold"),
        ([], "there are no records to export"),
    ],
)
def test_what_saebench_cannot_hold_gets_one_sentence(records: list[Record], sentence: str, tmp_path: Path):
    with pytest.raises(SaebenchError) as error:
        export(records, "saebench", tmp_path / "out")
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()
