"""A run of attacks from folders to attack.json and attack.md, on the tiny world, and the command."""

import json
from functools import partial

import pytest
import torch
from typer.testing import CliRunner

from saebench_lite.api.context import EvalContext
from saebench_lite.audit import attack
from saebench_lite.audit.attack_edits import ATTACKS
from saebench_lite.audit.attack_tasks import SETTINGS
from saebench_lite.cli.main import app
from saebench_lite.loaders import native
from saebench_lite.names import PICO_HOOK
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.worlds.concepts import build
from saebench_lite.worlds.model import WorldModel

CHOSEN = tuple(a for a in ATTACKS if a.name in ("ladder", "rescaled", "enlarged", "leak"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A TopK SAE of true directions, to which one of CHOSEN does not apply."""
    lm = WorldModel.load("tiny")
    rows = lm.world.directions[lm.by_frequency[:24]]
    sae = AffineSAE(W_enc=rows.T, W_dec=rows, b_dec=lm.world.bias, activation="topk", k=4)
    return native.save(sae, tmp_path_factory.mktemp("saes") / "t")


def test_run_writes_figures_once_and_names_what_it_left_out(folder, tmp_path):
    run = partial(
        attack.run,
        "world:tiny",
        [folder],
        tmp_path,
        seeds=1,
        limit=3,
        attacks=CHOSEN,
        command="the command",
        cache=tmp_path / "cache",
    )
    outcome = run()
    assert [(r.sae, r.attack) for r in outcome.refused] == [("t", "rescaled")]
    records = {p: p.stat().st_mtime_ns for p in (tmp_path / "records").rglob("*.json")}
    names = {json.loads(p.read_text())["subject"]["name"] for p in records}
    assert names == {"t", "t + ladder", "t + enlarged", "t + leak"}
    assert {json.loads(p.read_text())["subject"]["kind"] for p in records} == {"sae"}
    written = [(tmp_path / name).read_bytes() for name in ("attack.json", "attack.md")]
    assert run() == outcome
    assert [(tmp_path / name).read_bytes() for name in ("attack.json", "attack.md")] == written
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "records").rglob("*.json")} == records

    tasks = {e.task for e in outcome.effects}
    assert tasks == {*SETTINGS, "recovery"} - {"reconstruction"}
    of = {(e.task, e.metric, e.attack): e for e in outcome.effects}
    assert of["rival_scores", "rare_f1_fires", "leak"].change.mean < -0.05
    assert of["recovery", "ap", "leak"].change.mean == pytest.approx(0, abs=0.01)
    assert outcome.means["leak"]["explained_variance"][0] == pytest.approx(
        outcome.means["leak"]["explained_variance"][1]
    )
    assert outcome.means["ladder"]["d_sae"] == (24, 24 * 6)
    assert outcome.means["leak"]["l0"] == pytest.approx((4, 24), abs=1e-3)


def test_a_change_of_scale_is_made_once(folder):
    lm = WorldModel.load("tiny")
    known = attack.calibration(EvalContext(lm, "world", build(lm, 1024)))
    saes = {name: native.LOADER.load(folder) for name in ("a", "b")}
    edited, refused = attack.edit(saes, known, CHOSEN)
    assert set(edited["a"]) == {"a + ladder", "a + enlarged", "a + leak"}
    assert set(edited["b"]) == {"b + ladder", "b + leak"}
    assert [(r.sae, r.attack) for r in refused] == [("a", "rescaled"), ("b", "rescaled")]


def test_calibration_has_tokens_where_the_model_reads_words(pico, few_texts):
    known = attack.calibration(EvalContext(pico, PICO_HOOK, few_texts))
    assert known.tokens is not None
    assert len(known.tokens) == len(known.x) <= attack.ROWS
    acts = EvalContext(pico, PICO_HOOK, few_texts).acts(few_texts.texts[0])
    order = known.x[:, 0].sort().values
    torch.testing.assert_close(order, acts.x[:, 0].float().sort().values, rtol=1e-4, atol=1e-4)
    ids = pico.tokenize(list(few_texts.texts[0].texts), context=None, long_texts="cut_right")
    real = torch.cat([torch.tensor(i) for i in ids])
    assert torch.bincount(known.tokens, minlength=9000).max() <= torch.bincount(real, minlength=9000).max()
    lm = WorldModel.load("tiny")
    assert attack.calibration(EvalContext(lm, "world", build(lm, 1024))).tokens is None


def test_one_sae_of_each_architecture_is_trained(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(attack.panel, "build", lambda spec, folder, **rest: seen.append(spec) or [folder])
    assert attack.one_each("tiny", tmp_path, 50) == [tmp_path]
    [spec] = seen
    recipes = dict(spec.recipes())
    assert sorted(r.architecture for r in recipes.values()) == sorted(attack.ARCHITECTURES)
    assert set(recipes) <= set(dict(attack.panel.PanelSpec(world="tiny", steps=50).recipes()))  # names of an audit's
    assert spec.snapshots == ()


@pytest.mark.parametrize("arguments", [["--model", "pico"], ["--attack", "--model", "gpt2"]])
def test_a_model_is_taken_only_where_saes_are_bundled(arguments):
    done = CliRunner().invoke(app, ["audit", *arguments])
    assert done.exit_code == 2
    assert "name a world with --world" in done.stderr


def test_command_attacks_what_is_bundled_or_trained(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(attack, "one_each", lambda world, *rest: [world, *rest])

    def run(model, folders, out, **rest):
        calls.append((model, folders, rest))
        out.mkdir(exist_ok=True)
        (out / "attack.md").write_text("the page\n")

    monkeypatch.setattr(attack, "run", run)
    for place in (["--model", "pico"], ["--world", "tiny", "--steps", "60", "--limit", "2"]):
        done = CliRunner().invoke(app, ["audit", "--attack", "--quiet", "--out", str(tmp_path), *place])
        assert (done.exit_code, done.stdout) == (0, "the page\n\n")
    assert [c[0] for c in calls] == ["pico", "world:tiny"]
    assert [f.name for f in calls[0][1]] == [f"{a}_1024_l0_16" for a in ("batchtopk", "jumprelu", "relu", "topk")]
    assert calls[1][1][:3] == ["tiny", tmp_path / "saes", 60]
    assert calls[1][2]["limit"] == 2
    commands = [c[2]["command"] for c in calls]
    assert commands[0] == "saebench-lite audit --attack --model pico"
    assert commands[1] == "saebench-lite audit --attack --world tiny --steps 60 --limit 2"
