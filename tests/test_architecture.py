"""What a wheel holds, and the contract of everything registered."""

import dataclasses
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from saebench_lite import registry
from saebench_lite.api.context import EvalContext
from saebench_lite.api.settings import make_config
from saebench_lite.api.subject import SAESubject
from saebench_lite.errors import SaebenchError
from saebench_lite.recipes import controls
from saebench_lite.runs.evaluate import plain, summarise
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.conformance import check_sae
from saebench_lite.saes.identity import fingerprint
from saebench_lite.worlds.concepts import build
from saebench_lite.worlds.model import WorldModel
from tests.conftest import HOOK
from tests.helpers import planted_facts, tiny_ravel
from tests.helpers.wrong_values import wrong_settings

ROOT = Path(__file__).resolve().parent.parent


def test_wheel_holds_every_module_and_artefact(tmp_path):
    """Built from a copy of what git tracks, by calling the build backend: no network, no isolation."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs the repository")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    copy = tmp_path / "copy"
    for name in filter(None, tracked):
        source = ROOT / name
        if name.startswith("results/") or not (source.exists() or source.is_symlink()):
            continue
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, copy / name, follow_symlinks=False)
    code = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    subprocess.run([sys.executable, "-c", code], cwd=copy, check=True, capture_output=True)
    (wheel,) = (copy / "dist").glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    want = {f"saebench_lite/{n}" for n in tracked if n.startswith(("tasks/", "baselines/")) and n.endswith(".py")}
    want |= {n for n in tracked if n.startswith("saebench_lite/") and not (ROOT / n).is_symlink()}
    assert want <= held, sorted(want - held)
    assert not [n for n in held if n.startswith(("tasks/", "baselines/", "tests/"))]
    assert sum(i.file_size for i in zipfile.ZipFile(wheel).infolist() if "bundled" in i.filename) < 16 * 2**20


def test_bare_names_are_refused():
    for name in ("tasks", "baselines"):
        done = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True)
        assert f"called saebench_lite.{name}" in done.stderr


QUICK = {
    "absorption": {"examples": 3},
    "autointerp": {"encoder": "tf-idf", "max_windows": 300, "latents": 4},
    "causal_effect": {"concepts": 0},
    "ce_delta": {"max_tokens": 500},
    "ravel": {
        "kinds": ("animal",),
        "entities": 12,
        "trials": 4,
        "fewest": 1,
        "latents": (4,),
        "dimensions": 2,
        "steps": 1,
    },
    "reconstruction": {"max_tokens": 2000},
    "unlearning": {"texts": 5, "latents": (2,), "strengths": (8.0,)},
    "disentanglement": {"classes": 2, "pairs": 1, "max_train": 64, "max_test": 32, "own_texts": 120},
    "minimal_pairs": {"match_texts": 40, "pairs_each": 4, "untrained": 1},
    "probing_regimes": {"max_train": 64, "sizes": (2, 16), "shares": (0.5,), "flips": (0.0,)},
}


@pytest.fixture(scope="module")
def ctx(pico, concepts):
    return EvalContext(pico, HOOK, concepts)


@pytest.fixture(scope="module")
def planted():
    """A tiny world, a ctx on it, and an SAE of its width."""
    lm = WorldModel.load("tiny")
    g = torch.Generator().manual_seed(0)
    directions = torch.randn(32, lm.width, generator=g)
    return EvalContext(lm, "world", build(lm, 1024)), AffineSAE(W_enc=directions.T, W_dec=directions)


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    """A ctx on a model that knows made-up facts, an SAE of its width, and the folder of its facts."""
    ctx = planted_facts.site(tiny_ravel.facts_by_animal())
    eye = torch.eye(ctx.d_in)
    return ctx, AffineSAE(W_enc=eye, W_dec=eye), str(tiny_ravel.write(tmp_path_factory.mktemp("ravel")))


@pytest.mark.parametrize("name", registry.names("tasks"))
def test_task_contract(name, ctx, sae, planted, facts):
    """File stem = name; exactly the metrics returned that are not `on_request`; same seed, same bits."""
    task = registry.get("tasks", name)
    card = task.card
    assert card.name == name
    assert card.shown
    assert card.version >= 1
    cfg = task.config(**QUICK.get(name, {}))
    if name == "ravel":
        ctx, sae, folder = facts
        cfg = dataclasses.replace(cfg, folder=folder)
    if card.requires_ground_truth:
        ctx, sae = planted
    assert json.loads(json.dumps(plain(dataclasses.asdict(cfg)))) == plain(dataclasses.asdict(cfg))
    with pytest.raises(dataclasses.FrozenInstanceError):
        cfg.anything = 1
    who = SAESubject(name="s", kind="sae", fingerprint="f", sae=sae)
    got = [summarise(task.evaluate(who, ctx, task.prepare(ctx, cfg, [42]), cfg, [42]), card) for _ in range(2)]
    assert got[0] == got[1]
    assert set(got[0][0]) == {m.name for m in card.metrics} - set(card.on_request)
    for metric, score in got[0][0].items():
        declared = card.metric(metric)
        assert declared.lower_bound is None or score.value >= declared.lower_bound
        assert declared.upper_bound is None or score.value <= declared.upper_bound + 1e-9
    assert task.__class__.__name__ == "Task"
    doc = sys.modules[task.prepare.__module__].__doc__ or ""
    assert "Source" in doc
    assert "differ" in doc


@pytest.mark.parametrize("name", registry.names("tasks"))
def test_settings_contract(name):
    """The defaults pass, every field refuses what its annotation rules out in one sentence that names it."""
    task = registry.get("tasks", name)
    defaults = task.config()
    assert make_config(task, {}) == make_config(task, dataclasses.asdict(defaults)) == defaults
    wrong = list(wrong_settings(task.config))
    assert {field for field, _ in wrong} == {f.name for f in dataclasses.fields(task.config)}  # none may be anything
    for field, value in wrong:
        with pytest.raises(SaebenchError, match=f"^task '{name}' setting {field} must be [^\n]*; got [^\n]*$"):
            make_config(task, {field: value})
        with pytest.raises(SaebenchError, match=f"setting {field} must be "):
            task.config(**{field: value})
    with pytest.raises(SaebenchError, match=f"^task '{name}' has no setting 'no_such'; it has "):
        make_config(task, {"no_such": 1})


@pytest.mark.parametrize("name", registry.names("baselines"))
def test_baseline_contract(name, ctx, sae, planted, monkeypatch):
    monkeypatch.setattr(controls, "STEPS", 3)
    monkeypatch.setattr(controls, "TEXTS", 100)
    baseline = registry.get("baselines", name)
    if baseline.requires_ground_truth:
        ctx = planted[0]
    assert baseline.name == name
    assert baseline.kind in ("dictionary baseline", "control", "baseline", "oracle")
    if baseline.texts_probe is not None:
        labels = torch.arange(20) % 2 == 0
        texts = [f"{'yes' if label else 'no'} word{i}" for i, label in enumerate(labels)]
        got = baseline.texts_probe(texts, labels, ["a yes", "a no", "nothing"])
        assert got.shape == (3,)
        assert got[0] > got[2] > got[1]
        return
    if baseline.make or baseline.derive:
        first, again = (baseline.make(ctx, 42) if baseline.make else baseline.derive(sae, ctx, 42) for _ in range(2))
        check_sae(first, d_in=ctx.d_in, sample=ctx.sample(8)[:16])
        assert fingerprint(first) == fingerprint(again)
        return
    if baseline.probe is None:
        return  # see test_classifiers
    x = torch.randn(60, 128, generator=torch.Generator().manual_seed(0)).double()
    y = torch.stack([x[:, 0] > 0, x[:, 1] > 0])
    use = torch.arange(60).expand(2, -1) < 40
    fitted = baseline.probe(x, y, use)
    other = x.clone()
    other[40:] = 99.0
    again = baseline.probe(other, y, use)
    assert torch.equal(fitted.weight, again.weight)  # test rows are never looked at
    assert fitted.weight.shape == (2, 128)
    assert fitted.bias.shape == (2,)


@pytest.mark.parametrize("kind", ["loaders", "sources"])
def test_loaders_and_sources_say_what_they_read(kind):
    for name in registry.names(kind):
        assert len(registry.get(kind, name).description) > 10
