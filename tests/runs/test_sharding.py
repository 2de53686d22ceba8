"""Shards cover a run exactly once with the same scores; a dry run scores nothing."""

import json
from typing import Any

import pytest

import saebench_lite as sb
from saebench_lite.cli.main import app
from saebench_lite.errors import SaebenchError
from saebench_lite.records.record import read_all
from saebench_lite.runs.config import RunConfig
from saebench_lite.runs.runner import execute, run
from saebench_lite.runs.sharding import Shard
from tests.conftest import HOOK

QUICK = {"reconstruction": {"max_tokens": 2000, "blocks": 4}, "sparse_probing": {"ks": (1, 5)}}


def go(pico, concepts, saes, **kwargs):
    baselines = ["logistic", "random_topk", "permuted_decoder"]
    return run(
        saes,
        model=pico,
        hook=HOOK,
        data=concepts,
        tasks=list(QUICK),
        settings=QUICK,
        baselines=baselines,
        seeds=1,
        **kwargs,
    )


def test_shards_in_any_order_of_saes_make_the_records_of_one_run(pico, concepts, sae, tmp_path):
    other = sb.AffineSAE(W_enc=sae.W_enc, W_dec=sae.W_dec, activation="relu")
    whole = go(pico, concepts, {"mine": sae, "other": other})
    parts = [
        go(pico, concepts, {"mine": sae, "other": other}, shard=Shard(1, 3), out=tmp_path),
        go(pico, concepts, {"other": other, "mine": sae}, shard=Shard(2, 3), out=tmp_path),
        go(pico, concepts, {"mine": sae, "other": other}, shard=Shard(3, 3), out=tmp_path),
    ]
    digests = [r.digest for part in parts for r in part]
    assert sorted(digests) == sorted(r.digest for r in whole)
    assert sum(len(part) > 0 for part in parts) > 1
    assert len(set(digests)) == len(whole)
    scores = {r.digest: r.scores for part in parts for r in part}
    for record in whole:
        for metric, entry in record.scores.items():
            assert scores[record.digest][metric].value == pytest.approx(entry.value, rel=1e-6, abs=1e-6)
    assert len(read_all(tmp_path)[0]) == len(whole)


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2"])
def test_bad_shards_are_refused(text):
    with pytest.raises(SaebenchError, match="is not understood; write i/n"):
        Shard.parse(text)


def test_every_subject_has_one_owner():
    assert Shard.parse("2/8") == Shard(2, 8)
    for place in range(20):
        assert sum(Shard(i, 7).owns(place) for i in range(1, 8)) == 1


def test_processes_of_two_devices_make_the_records_of_one(tmp_path):
    from saebench_lite.bundled import sae_folders

    fields: dict[str, Any] = {
        "saes": tuple(map(str, sae_folders()[:2])),
        "tasks": ("reconstruction",),
        "baselines": ("neurons",),
        "settings": {"reconstruction": {"max_tokens": 300}},
        "limit": 1,
    }
    progress = []

    class Seen:
        def update(self, stage, done, total):
            progress.append((stage, done, total))

    want = execute(RunConfig(**fields))
    got = execute(RunConfig(**fields, devices=("cpu", "cpu"), out=tmp_path), progress=Seen())
    assert {r.digest: r.scores for r in got} == {r.digest: r.scores for r in want}
    assert len(read_all(tmp_path)[0]) == len(want)
    assert progress[-1] == ("evaluations", len(want), len(want))


def test_devices_are_numbers_of_gpus_or_names():
    assert RunConfig(devices=("0", "1")).devices == ("cuda:0", "cuda:1")
    assert RunConfig(devices=("cpu", "cpu")).devices == ("cpu", "cpu")
    with pytest.raises(SaebenchError, match="devices and shard"):
        RunConfig(devices=("0", "1"), shard=Shard(1, 2))


def test_live_objects_are_refused_by_processes(sae):
    with pytest.raises(SaebenchError, match="cannot be handed live objects"):
        sb.run({"mine": sae}, devices="cpu,cpu")


def test_dry_run_lists_units_and_costs_and_writes_nothing(tmp_path):
    from typer.testing import CliRunner

    from saebench_lite.bundled import sae_folders

    command = [
        "run",
        "--sae",
        str(sae_folders()[0]),
        "--tasks",
        "reconstruction",
        "--baselines",
        "none",
        "--limit",
        "2",
    ]
    command += ["--out", str(tmp_path), "--quiet", "--set", "reconstruction.max_tokens=500"]
    shown = CliRunner().invoke(app, [*command, "--dry-run", "--json"])
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert [(u["task"], u["state"]) for u in found["units"]] == [("reconstruction", "to do")]
    assert found["cache_bytes"] == found["tokens"] * 128 * 4
    assert found["sae_flops"] == 2 * 128 * 1024 * found["tokens"]
    assert found["seconds"] > 0
    assert list(tmp_path.iterdir()) == []
    assert CliRunner().invoke(app, command).exit_code == 0
    again = CliRunner().invoke(app, [*command, "--dry-run"]).stdout
    assert "0 of 1 units to do" in again
    assert found["units"][0]["digest"] in again
