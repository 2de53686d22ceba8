"""Objects in a call from Python: SAEs without names, tasks and baselines beside names, the defaults of the command."""

import dataclasses
import re

import pytest
import torch

import saebench_lite as sb
from saebench_lite import registry
from saebench_lite.baselines.random_topk import BASELINE as RANDOM_TOPK
from saebench_lite.errors import SaebenchError
from saebench_lite.files import digest
from saebench_lite.progress import NoProgress
from saebench_lite.records.record import read_all
from saebench_lite.runs import live_checks, local_engine, runner
from saebench_lite.runs.config import RunConfig
from saebench_lite.runs.live import Live, named, split_baselines, split_saes, split_tasks
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.tasks.reconstruction import TASK as RECONSTRUCTION
from tests.conftest import HOOK
from tests.helpers.record_factory import made_up

QUICK = {"max_tokens": 2000, "blocks": 4}


class Mine(AffineSAE):
    """Of a class of the user's."""


def small(name: str | None = None, seed: int = 0) -> Mine:
    rows = torch.randn(16, 128, generator=torch.Generator().manual_seed(seed))
    sae = Mine(W_enc=rows.T, W_dec=rows)
    if name is not None:
        sae.name = name  # type: ignore[attr-defined]  # as users do
    return sae


def quick_task(name: str = "quick", version: int = 1) -> sb.Task:
    """Reconstruction under another name, in this module."""
    card = dataclasses.replace(RECONSTRUCTION.card, name=name, version=version)

    def prepare(ctx, config, seeds):
        return RECONSTRUCTION.prepare(ctx, config, seeds)

    return sb.Task(card, RECONSTRUCTION.config, prepare, RECONSTRUCTION.evaluate)


SEED_HERE = 0


def made_here(ctx, seed):
    return small(seed=seed + SEED_HERE)


def test_names_are_those_of_objects_or_classes_and_differ():
    a, b, c, d, e = small("topk"), small("topk"), small(), small(), small("topk_2")
    assert list(named([a, b, c, d, e])) == ["topk", "topk_2", "Mine", "Mine_2", "topk_2_2"]
    assert [*named([small(" ")])] == ["Mine"]
    assert split_saes(a) == ({"topk": a}, None)
    assert split_saes([a, c]) == ({"topk": a, "Mine": c}, None)
    assert split_saes({"x": a}) == ({"x": a}, None)
    assert split_saes("folder") == (None, ("folder",))
    assert split_saes(["a", "b"]) == (None, ["a", "b"])
    assert split_saes(None) == (None, None)
    assert split_saes([]) == (None, [])


def test_what_cannot_be_named_is_a_sentence():
    one = small("topk")
    for wrong, sentence in (
        ([one, one], "saes holds the object 'topk' twice; give it once"),
        ([one, "folder"], "saes holds objects and the spec 'folder'; load it first"),
        ([Mine], "saes holds the class Mine; give objects"),
        (Mine, "saes holds the class Mine; give objects"),
        ([3], "saes holds an int; give objects"),
        (3, "saes is an int; give an SAE, a list of SAEs, "),
        ({1: one}, "saes holds an SAE called 1; give each a text as its name"),
        ({None: one}, "saes holds an SAE called None; give each"),
        ({"a": one, "": one}, "saes holds an SAE called ''; give each"),
    ):
        with pytest.raises(SaebenchError, match=f"^{sentence}"):
            sb.run(wrong)  # type: ignore[arg-type]
    with pytest.raises(SaebenchError, match=r"^tasks holds an int; give names or Task objects"):
        split_tasks(["a", 3])  # type: ignore[list-item]
    with pytest.raises(SaebenchError, match=r"^baselines is an int; give names, Baseline objects, or a list"):
        split_baselines(3)  # type: ignore[arg-type]
    with pytest.raises(SaebenchError, match=r"^model is an int; give a name, a list of names, or a LanguageModel"):
        sb.run(one, model=5)  # type: ignore[arg-type]
    with pytest.raises(SaebenchError, match=r"^no task is called 'recon'; did you mean reconstruction"):
        sb.run(one, tasks="recon")


def test_registered_objects_are_names_and_others_stay_objects():
    own = quick_task()
    assert split_tasks("a") == (["a"], None)
    assert split_tasks(RECONSTRUCTION) == (["reconstruction"], None)
    assert split_tasks([own, "absorption"]) == (["quick", "absorption"], [own])
    assert split_baselines([RANDOM_TOPK]) == (["random_topk"], None)
    assert split_baselines([]) == ([], None)


def test_a_call_without_anything_asks_for_what_the_command_does(monkeypatch):
    seen = []
    monkeypatch.setattr(
        local_engine, "run", lambda config, live, progress: seen.append((config, live)) or iter([made_up()])
    )
    sb.run()
    assert seen[0][0] == sb.RunConfig()
    assert seen[0][1].names == []
    sb.run([])
    assert seen[1][0].saes == ()
    sb.run(small(), tasks="reconstruction", control_of="all")
    assert (seen[2][0].tasks, seen[2][0].control_of) == (("reconstruction",), ("all",))
    assert list(seen[2][1].saes) == ["Mine"]


def test_names_may_stand_in_one_text_as_on_the_command_line(monkeypatch):
    seen = []
    monkeypatch.setattr(local_engine, "run", lambda config, live, progress: seen.append(config) or iter([made_up()]))
    sb.run(tasks="sparse_probing, reconstruction", baselines="none", control_of="a,b")
    assert (seen[0].tasks, seen[0].baselines, seen[0].control_of) == (
        ("sparse_probing", "reconstruction"),
        (),
        ("a", "b"),
    )
    asked = sb.RunConfig(baselines="knn,logistic")  # type: ignore[arg-type]
    assert asked.baselines == ("knn", "logistic")
    with pytest.raises(SaebenchError, match="baselines is 'none,knn', none and others; give none alone"):
        sb.run(baselines="none,knn")
    with pytest.raises(SaebenchError, match="tasks is an empty list"):
        sb.run(tasks="none")


def test_a_run_without_work_says_so(pico, concepts):
    with pytest.raises(SaebenchError, match="there is nothing to score: no task takes an SAE or baseline of this run"):
        sb.run({}, model=pico, hook=HOOK, data=concepts, tasks="reconstruction", baselines=[])


def test_progress_is_a_bar_a_receiver_or_nothing(monkeypatch):
    seen = []
    monkeypatch.setattr(local_engine, "run", lambda config, live, progress: seen.append(progress) or iter([made_up()]))
    mine = NoProgress()
    with runner.shown() as bar:
        kind = type(bar)
    monkeypatch.setattr(runner, "shown", lambda: runner.nullcontext("a bar"))
    sb.run()
    sb.run(progress=mine)
    sb.run(progress=False)
    assert seen[:2] == ["a bar", mine]
    assert isinstance(seen[2], NoProgress)
    assert kind is NoProgress  # stderr is no terminal here


def test_tasks_and_baselines_as_objects(pico, concepts, tmp_path):
    baseline = sb.Baseline(name="here", description="made in a test", kind="control", make=made_here)
    settings = {"quick": QUICK, "reconstruction": QUICK}

    def go(task: sb.Task, out=None) -> list[sb.Record]:
        return sb.run(
            small(),
            model=pico,
            hook=HOOK,
            data=concepts,
            tasks=[task, "reconstruction"],
            baselines=[baseline, "pca"],
            settings=settings,
            out=out,
        )

    records = go(quick_task(), tmp_path)
    scored = {(r.task.name, r.subject.name): r for r in records}
    assert set(scored) == {(t, s) for t in ("quick", "reconstruction") for s in ("Mine", "here", "pca")}
    assert all(r.status == "ok" for r in records), [r.reason for r in records]
    assert scored["quick", "Mine"].scores == scored["reconstruction", "Mine"].scores
    assert scored["quick", "Mine"].task.package == __name__
    assert scored["reconstruction", "Mine"].task.package == "saebench-lite"
    about, card = scored["reconstruction", "Mine"].task, registry.get("tasks", "reconstruction").card
    assert (tuple(about.headline), about.beside) == (card.headline, card.beside)
    assert about.beside
    assert scored["quick", "here"].subject.kind == "control"
    assert "quick" not in registry.names("tasks")
    assert "here" not in registry.names("baselines")
    assert not (tmp_path / "run.yaml").exists()  # objects fit in no file
    before = {r.digest for r in read_all(tmp_path)[0]}
    assert {r.digest for r in go(quick_task(), tmp_path)} == before  # found again
    assert {r.digest for r in go(quick_task(version=2))} != before


def test_an_object_that_takes_a_registered_name_is_refused(pico, concepts):
    with pytest.raises(SaebenchError, match="two tasks are called 'reconstruction', from saebench-lite and "):
        sb.run(small(), model=pico, hook=HOOK, data=concepts, tasks=quick_task("reconstruction"))


def test_what_is_lent_gives_way_to_what_was_there():
    with registry.only_within():
        registry.add(*registry.entry_of("tasks", "mine", "old", made_here))
        new = registry.entry_of("tasks", "mine", "new", made_here)
        with registry.lent([new]):
            assert registry.get("tasks", "mine") == "new"
            registry.add(*registry.entry_of("tasks", "other", "later", made_here))
        assert registry.get("tasks", "mine") == "old"
        assert registry.get("tasks", "other") == "later"
        with pytest.raises(RuntimeError), registry.lent([new]):
            raise RuntimeError
        assert registry.get("tasks", "mine") == "old"


def test_load_names_what_has_no_name(tmp_path):
    from saebench_lite.bundled import sae_folders

    folder = sae_folders()[0]
    assert list(named([sb.load(str(folder)), sb.load(f"mine={folder}")])) == [folder.name, "mine"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"dtype": "bfloat16"}, "dtype is 'bfloat16', and the model object pico has float32; give its name"),
        ({"limit": 1}, "limit is 1, and data given as an object are taken whole; give fewer datasets"),
    ],
)
def test_what_an_object_has_settled_is_not_asked_anew(pico, few_texts, options, why):
    with pytest.raises(SaebenchError, match=re.escape(why)):
        sb.run(
            {}, model=pico, hook=HOOK, data=few_texts, tasks=["reconstruction"], baselines=["random_topk"], **options
        )


def test_a_device_other_than_the_models_is_refused(pico, monkeypatch):
    monkeypatch.setattr(live_checks, "resolved", lambda device: device)
    with pytest.raises(SaebenchError, match="device is 'cuda:1', and the model object pico has cpu; give its name"):
        live_checks.check_live(Live(model=pico), RunConfig(device="cuda:1"))
    live_checks.check_live(Live(model=pico), RunConfig(device="cpu", dtype="float32"))


def test_a_baseline_from_outside_is_known_by_its_code(pico, few_texts, monkeypatch):
    def fingerprints(make):
        baseline = sb.Baseline(name="here", description="made in a test", kind="control", make=make)
        records = sb.run(
            small(), model=pico, hook=HOOK, data=few_texts, tasks="reconstruction", baselines=[baseline, "pca"],
            settings={"reconstruction": QUICK},
        )  # fmt: skip
        return {r.subject.name: r.subject.fingerprint for r in records}

    before = fingerprints(made_here)
    assert fingerprints(made_here) == before
    edited = fingerprints(lambda ctx, seed: small(seed=seed + 1))
    monkeypatch.setitem(globals(), "SEED_HERE", 2)
    named = fingerprints(made_here)
    assert len({before["here"], edited["here"], named["here"]}) == 3
    assert before["pca"] == edited["pca"] == digest(["saebench-lite", "pca", registry.get("baselines", "pca").version])
