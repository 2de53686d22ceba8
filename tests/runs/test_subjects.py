"""Who stands in a run: defaults by site, controls made out of SAEs, whatever order they come in."""

import pytest
import torch

from saebench_lite import registry
from saebench_lite.api.baseline import Baseline
from saebench_lite.api.context import EvalContext
from saebench_lite.api.subject import BrokenSubject, StoredSAESubject
from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import native
from saebench_lite.loading import open
from saebench_lite.loading.loader import Loader
from saebench_lite.progress import messages_to
from saebench_lite.recipes import controls
from saebench_lite.records.types import DataInfo
from saebench_lite.runs import setup, subjects
from saebench_lite.runs.config import RunConfig
from saebench_lite.runs.evaluate import Session
from saebench_lite.runs.live import Live
from saebench_lite.runs.runner import run
from saebench_lite.runs.subjects import subjects_of
from saebench_lite.saes.protocol import decoder_of, reconstruct
from tests.conftest import HOOK
from tests.helpers.broken_saes import BROKEN, SAES, NoFacts, OddFacts, topk

FEW = DataInfo(name="few", digest="d", datasets=1, concepts=1, corpora=1)


@pytest.fixture(scope="module")
def ctx(pico, concepts):
    return EvalContext(pico, HOOK, concepts)


DERIVED = ["matched_random", "permuted_decoder", "best_latents"]


def of(ctx, names, control_of=None, saes=None):
    messages: list[str] = []
    with messages_to(messages.append):
        made = subjects_of(SAES if saes is None else saes, names, control_of, ctx)
    return {s.name: s.loaded() for s in made}, messages


def test_defaults_leave_out_what_trains_and_what_needs_a_world(ctx):
    found, _ = of(ctx, None)
    assert {"logistic", "diff_in_means", "neurons", "pca", "random_topk"} <= set(found)
    assert "permuted_decoder of some" in found
    assert not {"oracle", "frozen_decoder", "mlp", "shuffled_labels", "best_latents of some"} & set(found)


def test_controls_come_from_the_median_l0_in_any_order(ctx):
    turned = {n: SAES[n] for n in ("many", "few", "some")}
    for saes in (SAES, turned):
        found, _ = of(ctx, DERIVED, saes=saes)
        random = {f"matched_random of {n}" for n in SAES}  # whose L0 are far apart
        assert set(found) - set(SAES) == {f"{n} of some" for n in DERIVED} | random
    alike = {"some": SAES["some"], "again": SAES["some"], "few": SAES["few"]}
    shared, _ = of(ctx, ["matched_random"], saes=alike)
    assert set(shared) - set(alike) == {"matched_random of again", "matched_random of few"}
    assert shared["some"].meta["sample_l0"] == pytest.approx(shared["matched_random of again"].meta["matched_l0"])
    every, _ = of(ctx, ["matched_random"], ["all"])
    assert set(every) - set(SAES) == {f"matched_random of {n}" for n in SAES}


def test_controls_and_dictionary_baselines_tell_their_l0(ctx):
    found, _ = of(ctx, [*DERIVED, "random_topk", "neurons", "pca"])
    told = {name: s.meta.get("sample_l0", s.meta.get("matched_l0")) for name, s in found.items()}
    assert told["permuted_decoder of some"] == told["some"]
    assert told["random_topk"] == pytest.approx(32)
    assert told["pca"] == told["neurons"] == pytest.approx(128)
    assert 0 < found["best_latents of some"].meta["sample_l0"] < found["some"].meta["sample_l0"]
    assert "sample_l0" not in found["matched_random of some"].meta  # it tells the L0 that it is made for


def test_controls_of_an_sae_that_is_not_there_are_refused_whatever_the_baselines(tmp_path, monkeypatch):
    two = {"models": ("pico",), "hooks": (HOOK, "blocks.1.hook_resid_post"), "baselines": (), "limit": 1}
    monkeypatch.setattr(setup, "load_model", lambda *_: pytest.fail("a model was loaded"))
    for saes, why in ((SAES, "which is not among the SAEs few, some, many"), ({}, "and the run has no SAE")):
        with pytest.raises(SaebenchError, match=f"^controls are asked of 'nosuch', {why}"):
            next(setup.set_up(RunConfig(**two, saes=(), control_of=("all", "nosuch")), Live(saes=saes)))


def test_controls_may_be_asked_of_an_sae_of_another_site(pico):
    saes = {name: topk(4) for name in ("here", "there")}
    saes["here"].meta, saes["there"].meta = {"hook": HOOK}, {"hook": "blocks.1.hook_resid_post"}
    asked = RunConfig(
        saes=(),
        hooks=(HOOK, "blocks.1.hook_resid_post"),
        baselines=("permuted_decoder",),
        control_of=("there",),
        limit=1,
    )
    (jobs,) = setup.set_up(asked, Live(saes=saes, model=pico))
    assert [[s.name for s in job.subjects] for job in jobs] == [["here"], ["there", "permuted_decoder of there"]]


def test_what_derived_controls_are(ctx):
    found, _ = of(ctx, DERIVED, ["many"])
    x = ctx.sample(64)
    sae = SAES["many"]
    f = sae.encode(x)
    random = found["matched_random of many"].require_sae()
    assert (random.encode(x) != 0).sum(1).float().mean().item() == pytest.approx(40, rel=0.15)
    assert random.d_sae == sae.d_sae
    permuted = found["permuted_decoder of many"].require_sae()
    assert torch.equal(permuted.encode(x), f)
    rows = decoder_of(permuted)
    assert rows is not None
    by_hand = f @ rows + sae.b_dec
    torch.testing.assert_close(reconstruct(permuted, x, f), by_hand)
    assert not (rows == sae.decoder).all(1).any()
    best = found["best_latents of many"].require_sae()
    fires = (best.encode(x) != 0).any(0)
    assert fires.sum() <= 24
    mass = bench_mass(sae, ctx)
    assert set(fires.nonzero()[:, 0].tolist()) <= set(mass.topk(24).indices.tolist())
    again, _ = of(ctx, DERIVED, ["many"])
    assert {n: s.fingerprint for n, s in again.items()} == {n: s.fingerprint for n, s in found.items()}


@pytest.mark.parametrize(("small", "times"), [(0, 1), (-1, 2)])
def test_a_small_control_is_made_once_and_a_large_one_again_to_be_scored(monkeypatch, small, times):
    sae, made = SAES["some"], []
    monkeypatch.setattr(subjects, "SMALL", 8 * sae.d_sae * sae.d_in + small)
    build = subjects._kept_if_small(lambda: made.append(1) or sae)
    assert build() is build() is sae
    assert len(made) == times


def bench_mass(sae, ctx) -> torch.Tensor:
    return sae.encode(ctx.sample()).abs().sum(0) * sae.decoder.norm(dim=1)


def test_what_does_not_apply_is_left_out_with_a_word(ctx):
    found, messages = of(ctx, ["oracle"])
    assert "oracle" not in found
    assert messages == ["oracle is left out: the true features of pico are not known"]


def test_shuffled_labels_know_nothing():
    from saebench_lite.baselines.shuffled_labels import BASELINE
    from saebench_lite.metrics.classification import auroc
    from saebench_lite.probes.logistic import scores

    assert BASELINE.probe is not None
    x = torch.randn(400, 64, generator=torch.Generator().manual_seed(0)).double()
    y = x[:, :2].T > 0
    use = torch.arange(400).expand(2, -1) < 200
    margin = scores(BASELINE.probe(x, y, use), x)[:, 200:]
    for m, truth in zip(margin, y[:, 200:], strict=True):
        assert abs(auroc(m[truth], m[~truth]).item() - 0.5) < 0.3


def test_whatever_an_sae_raises_is_its_own_failed_record(ctx):
    """With the L0 measured for derived controls, which go on with the others."""
    saes = {n: s for n, (s, _) in BROKEN.items()} | {
        "no facts": NoFacts(),
        "odd facts": OddFacts(),
        "good": SAES["few"],
    }
    found = {s.name: s for s in subjects_of(saes, ["matched_random"], None, ctx)}
    for name, (_, sentence) in BROKEN.items():
        broken = found[name]
        assert isinstance(broken, BrokenSubject)
        assert broken.reason.startswith(sentence), broken.reason
        assert broken.form is None
    assert {n for n, s in found.items() if s.form == "sae"} == {
        "no facts", "odd facts", "good", "matched_random of no facts", "matched_random of good"
    }  # fmt: skip
    assert found["no facts"].meta == {"d_sae": 96, "sample_l0": pytest.approx(4, abs=4)}
    assert found["odd facts"].meta | {"sample_l0": 0} == {"sample_l0": 0} | {
        "loss": "nan",
        "dtype": "torch.float32",
        "from": "x",
        "d_sae": 96,
    }


def test_a_third_party_loader_that_raises_fails_its_sae_alone(ctx, tmp_path):
    def load(path):
        raise ValueError("bad magic number")

    native.save(SAES["few"], tmp_path / "good")
    theirs = Loader(description="theirs", load=load, recognise=lambda path: path.name == "bad")
    (tmp_path / "bad").mkdir()
    with registry.only_within():
        registry.add("loaders", registry.Entry("theirs", "theirs", "1.0", "theirs", lambda: theirs))
        specs = [str(tmp_path / "bad"), str(tmp_path / "good"), "name="]
        bad, good, nowhere = subjects_of(specs, [], None, ctx)
    assert isinstance(bad, BrokenSubject)
    assert "ValueError: bad magic number" in bad.reason
    assert good.loaded().require_sae().d_sae == 96
    assert isinstance(nowhere, BrokenSubject)
    assert "names no place" in nowhere.reason


def test_a_broken_baseline_of_a_plugin_is_left_out_or_fails_alone(ctx):
    def fetch():
        raise ImportError("no such library")

    def make(ctx, seed):
        raise ZeroDivisionError

    raises = Baseline(name="raises", description="raises", kind="dictionary baseline", make=make)
    with registry.only_within():
        registry.add("baselines", registry.Entry("absent", "theirs", "1.0", "theirs", fetch))
        registry.add("baselines", registry.Entry("pca", "theirs", "1.0", "theirs", fetch))
        registry.add("baselines", registry.Entry("raises", "theirs", "1.0", "theirs", lambda: raises))
        messages: list[str] = []
        with messages_to(messages.append):
            found = {s.name: s for s in subjects_of({}, None, None, ctx)}
        with pytest.raises(SaebenchError, match="cannot be imported: ImportError: no such library"):
            subjects_of({}, ["absent"], None, ctx)
    assert {"logistic", "neurons", "raises"} <= set(found)
    assert not {"absent", "pca"} & set(found)
    assert isinstance(found["raises"], BrokenSubject)
    assert any(s.startswith("baseline 'absent' of theirs 1.0 cannot be imported") for s in messages)
    assert any(s.startswith("two baselines are called 'pca'") for s in messages)


def loads_of(ctx, specs, names, control_of, monkeypatch) -> dict[str, int]:
    """How often each SAE is read while subjects are set up and then each is scored once, in order."""
    counts: dict[str, int] = {}
    real = open.read

    def counting(spec):
        counts[spec.name] = counts.get(spec.name, 0) + 1
        return real(spec)

    monkeypatch.setattr(open, "read", counting)
    for subject in subjects_of(specs, names, control_of, ctx):
        subject.loaded().require_sae().encode(torch.zeros(1, 128))
    return counts


def test_an_sae_is_read_at_most_twice_a_pass_and_once_more_for_all_its_controls(ctx, tmp_path, monkeypatch):
    specs = []
    for name, sae in SAES.items():
        native.save(sae, tmp_path / name)
        specs.append(str(tmp_path / name))
    two = ["matched_random", "permuted_decoder"]
    one = loads_of(ctx, specs[:1], two, None, monkeypatch)
    assert one == {"few": 1}  # still in memory when it is scored
    assert loads_of(ctx, specs, two, ["few"], monkeypatch) == {"few": 2, "some": 2, "many": 2}
    assert loads_of(ctx, specs, two, None, monkeypatch) == dict.fromkeys(SAES, 3)  # of three sizes
    assert max(loads_of(ctx, specs, two, ["all"], monkeypatch).values()) <= 3


def test_what_raises_when_its_turn_comes_is_broken_then(ctx):
    def load():
        raise RuntimeError

    stored = StoredSAESubject(name="later", kind="sae", fingerprint="f", meta={"a": 1}, load=load)
    messages: list[str] = []
    with messages_to(messages.append):
        broken = Session(ctx, FEW, None, False).loaded(stored)
    assert isinstance(broken, BrokenSubject)
    assert (broken.name, broken.fingerprint, broken.meta, broken.reason) == ("later", "f", {"a": 1}, "RuntimeError")
    assert messages == ["later: RuntimeError"]


def test_a_trained_control_is_trained_within_a_run(monkeypatch, tmp_path):
    monkeypatch.setattr(controls, "STEPS", 60)
    (record,) = run(
        {},
        model="pico",
        hook="blocks.2.hook_resid_post",
        baselines=["soft_frozen_decoder"],
        tasks=["reconstruction"],
        limit=1,
        max_texts=100,
        context=16,
        cache=tmp_path,
    )
    assert record.status == "ok", record.reason
    assert record.scores["explained_variance"].value > 0.2
    recipe = record.subject.meta["recipe"]
    assert isinstance(recipe, dict)
    assert recipe["frozen"] == "soft_decoder"
