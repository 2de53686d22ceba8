"""Several sites in one run: one pass of the model, SAEs at their own site, wrong ones refused, a summary of all."""

import pytest
import torch

import saebench_lite as sb
from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import native
from saebench_lite.models.token_rule import Positions
from saebench_lite.records.verdicts import shipped_verdicts
from saebench_lite.report.doubts import doubts
from saebench_lite.report.leaderboard import tables
from saebench_lite.report.numbers import MISSING
from saebench_lite.report.sites import over_sites
from saebench_lite.runs.config import RunConfig
from saebench_lite.runs.live import Live
from saebench_lite.runs.runner import run
from saebench_lite.runs.setup import _shares
from saebench_lite.runs.sites import Site, mismatch, other_rule, same_hook, same_model, share_out
from tests.conftest import HOOK

BEFORE, AFTER = "blocks.1.hook_resid_post", HOOK
QUICK = {"reconstruction": {"max_tokens": 1000, "blocks": 2}, "sparse_probing": {"ks": (1,)}}


def small(seed: int, **meta) -> sb.AffineSAE:
    g = torch.Generator().manual_seed(seed)
    w = torch.nn.functional.normalize(torch.randn(64, 128, generator=g))
    sae = sb.AffineSAE(W_enc=w.T, W_dec=w, activation="topk", k=8)
    sae.meta |= meta
    return sae


def go(saes, hook, concepts, tmp_path, **kwargs):
    kwargs = {"model": "pico", "baselines": [], "tasks": ["reconstruction"]} | kwargs
    settings = {task: QUICK[task] for task in kwargs["tasks"]}
    return run(saes, hook=hook, data=concepts, settings=settings, seeds=1, cache=tmp_path / "cache", **kwargs)


@pytest.mark.parametrize(
    ("asked", "told", "same"),
    [
        ("blocks.8.hook_resid_pre", "blocks.8.hook_resid_pre", True),
        ("blocks.8.hook_resid_pre", "Blocks.7.hook_resid_post", True),
        ("blocks.7.hook_resid_post", "blocks.8.hook_resid_pre", True),
        ("blocks.8.hook_resid_pre", "blocks.8.hook_resid_post", False),
        ("blocks.8.hook_mlp_out", "blocks.8.hook_attn_out", False),
        ("blocks.8.hook_mlp_out", "blocks.8.hook_mlp_out", True),
        ("transformer.h.8", "blocks.8.hook_resid_post", True),
        ("model.layers.3", "blocks.4.hook_resid_pre", True),
        ("model.layers.3", "layers.3", True),
        ("model.layers.3.mlp", "blocks.3.hook_mlp_out", True),
        ("model.layers.3.self_attn", "blocks.3.hook_mlp_out", False),
        ("model.layers.3.ln_2", "input of layers.3.mlp", True),
        ("model.layers.3.ln_2", "input of layers.4.mlp", False),
        ("blocks.3.hook_resid_pre", "blocks.3.attn.hook_z", False),
        ("blocks.3.hook_resid_post", "resid_post_layer_3", True),
        ("blocks.3.hook_resid_post", "layers.3.output", True),
        ("blocks.3.hook_mlp_out", "mlp_out_layer_3", True),
        ("blocks.3.hook_mlp_out", "mlp_out_layer_4", False),
        ("blocks.4.hook_resid_pre", "3.resid_post", True),
        ("world", "world", True),
        ("world", "blocks.1.hook_resid_post", False),
    ],
)
def test_hook_names(asked, told, same):
    assert same_hook(asked, told) is same


@pytest.mark.parametrize(
    ("asked", "told", "same"),
    [
        ("EleutherAI/pythia-70m-deduped", "pythia-70m-deduped", True),
        ("/models/GPT2/", "gpt2", True),
        ("gpt2", "gpt2-small", True),
        ("gpt2", "gpt2-medium", False),
        ("random:pico", "pico", False),
        ("random:a/pico", "random:pico", True),
    ],
)
def test_model_names(asked, told, same):
    assert same_model(asked, told) is same


def test_mismatch_names_what_is_told_and_the_way_out():
    site = Site("pico", HOOK)
    assert mismatch({}, site) is None
    assert mismatch({"model": None, "hook": None}, site) is None
    sentence = mismatch({"model": "gpt2", "hook": "blocks.3.hook_resid_post"}, site) or ""
    assert sentence.startswith("its own metadata name model 'gpt2' and not 'pico' and hook 'blocks.3.hook_resid_post'")
    assert "--force-site" in sentence


def test_sharing_out():
    a, b = Site("m", "blocks.1.hook_resid_post"), Site("m", "blocks.2.hook_resid_post")
    facts = {"one": {"hook": a.hook}, "two": {"hook": b.hook}, "any": {}, "nowhere": {"model": "n"}, "broken": None}
    specs = [*facts, "told#hook=blocks.2.hook_resid_pre", "x=y#model=m,hook=blocks.3.hook_resid_pre"]
    shares = share_out(specs, [a, b], facts.__getitem__)
    assert shares == {a: ["one", "any", "nowhere", "broken", "told"], b: ["two", "any", "x=y"]}
    with pytest.raises(SaebenchError, match=r"names a site that is not run; there are blocks\.1"):
        share_out(["x#hook=blocks.9.hook_resid_pre"], [a, b], facts.__getitem__)
    with pytest.raises(SaebenchError, match="ends in 'hook='; write #hook=H"):
        share_out(["x#hook="], [a], facts.__getitem__)


def test_another_rule_than_that_of_the_training_is_told():
    plain, bos = Positions(), Positions("no-special-tokens,bos:<s>", front="<s>")
    assert other_rule({}, bos) is other_rule({"token_rule": bos.code, "prepend_bos": True}, bos) is None
    assert other_rule({"prepend_bos": False}, plain) is None
    sentence = other_rule({"token_rule": bos.code}, plain)
    assert sentence == f"its own metadata name the token rule {bos.code!r}, and the site's is 'no-special-tokens'"
    assert "no text of the site begins with one; add --bos prepend" in (other_rule({"prepend_bos": True}, plain) or "")
    assert "the texts of the site begin with '<s>'; add --bos" in (other_rule({"prepend_bos": False}, bos) or "")


def test_an_sae_of_another_site_is_refused_and_makes_no_control(concepts, tmp_path, caplog):
    saes = {"right": small(0, model="Pico", hook="blocks.3.hook_resid_pre"), "wrong": small(1, hook=BEFORE)}
    saes |= {"alien": small(2, model="gpt2"), "silent": small(3)}
    records = go(saes, HOOK, concepts, tmp_path, baselines=["permuted_decoder"], control_of=["all"])
    by_name = {r.subject.name: r for r in records}
    failed = {n for n, r in by_name.items() if r.status == "failed"}
    assert failed == {"wrong", "alien"}
    assert f"hook '{BEFORE}' and not '{HOOK}'; run it there, or add --force-site" in (by_name["wrong"].reason or "")
    assert set(by_name) - set(saes) == {"permuted_decoder of right", "permuted_decoder of silent"}
    assert len(caplog.messages) == 2
    caplog.clear()
    forced = go(saes, HOOK, concepts, tmp_path, force_site=True, out=tmp_path / "out")
    assert caplog.messages == [
        f"wrong: its own metadata name hook '{BEFORE}' and not '{HOOK}'; it is scored at {HOOK} of pico all the same",
        f"alien: its own metadata name model 'gpt2' and not 'pico'; it is scored at {HOOK} of pico all the same",
    ]
    assert [r.status for r in forced] == ["ok"] * 4
    assert [said for said in doubts(forced) if "metadata" in said] == [
        f"wrong: its own metadata name hook '{BEFORE}' and not '{HOOK}'",
        "alien: its own metadata name model 'gpt2' and not 'pico'",
    ]
    resumed = go(saes, HOOK, concepts, tmp_path, out=tmp_path / "out")  # what is on disk does not let them in
    assert {r.subject.name: r.status for r in resumed} == {n: by_name[n].status for n in saes}
    native.save(saes["wrong"], tmp_path / "wrong")
    (told,) = go([f"native:{tmp_path}/wrong#hook={HOOK}"], HOOK, concepts, tmp_path)
    assert told.status == "ok"


def test_one_place_in_two_ways_of_writing_is_one_site(concepts, tmp_path):
    saes, out = {"mine": small(0, model="pico", hook="resid_post_layer_2")}, tmp_path / "out"
    (first,) = go(saes, HOOK, concepts, tmp_path, out=out)
    entries = sorted((tmp_path / "cache").rglob("*.safetensors"))
    (again,) = go(saes, "model.layers.2.output", concepts, tmp_path, out=out)
    assert (again.status, again.site.hook, again.digest) == ("ok", HOOK, first.digest)
    assert again.provenance == first.provenance  # it was read, not computed
    (alone,) = go(saes, "layers.2", concepts, tmp_path)
    assert alone.scores == first.scores
    assert sorted((tmp_path / "cache").rglob("*.safetensors")) == entries
    with pytest.raises(SaebenchError, match=f"'{HOOK}' and 'h.2' are one place of pico, {HOOK}; name it once"):
        go(saes, [HOOK, "h.2"], concepts, tmp_path)


def test_the_bundled_saes_are_found_by_any_name_of_their_site():
    found = _shares(RunConfig(hooks=("model.layers.2",)), Live())
    assert len(found[Site("pico", "model.layers.2")].saes) == 12
    assert not _shares(RunConfig(hooks=("model.layers.1",)), Live())[Site("pico", "model.layers.1")].saes


def test_two_hooks_one_pass_and_the_same_scores_as_alone(pico, concepts, tmp_path, monkeypatch):
    for name, hook in (("early", BEFORE), ("late", AFTER)):
        native.save(small(len(name), model="pico", hook=hook), tmp_path / name)
    specs = [f"native:{tmp_path}/early", f"native:{tmp_path}/late"]
    monkeypatch.setattr(type(pico), "positions", lambda self, hook: Positions())  # no passes to measure sinks
    passes: list[list[str]] = []
    real = type(pico).collect

    def counted(texts: int, hooks) -> None:
        if texts > 2:  # fewer are the widths of hooks and their self-check
            passes.append(list(hooks))

    monkeypatch.setattr(
        type(pico), "collect", lambda self, b, hooks: counted(len(b.ids), hooks) or real(self, b, hooks)
    )
    tasks = ["reconstruction", "sparse_probing"]
    both = go(specs, [BEFORE, AFTER], concepts, tmp_path, tasks=tasks, baselines=["logistic"], out=tmp_path / "out")
    assert {(r.site.hook, r.subject.name) for r in both} == {
        (BEFORE, "early"), (BEFORE, "logistic"), (AFTER, "late"), (AFTER, "logistic")
    }  # fmt: skip
    assert {tuple(sorted(hooks)) for hooks in passes} == {(BEFORE, AFTER)}
    together = len(passes)
    passes.clear()
    alone = go(specs[:1], BEFORE, concepts, tmp_path / "1", tasks=tasks, baselines=["logistic"])
    assert len(passes) == together
    alone += go(specs[1:], AFTER, concepts, tmp_path / "2", tasks=tasks, baselines=["logistic"])
    assert {r.digest: r.scores for r in alone} == {r.digest: r.scores for r in both}
    summary = over_sites(tables(both, shipped_verdicts()))
    assert sb.leaderboard(both).to_markdown().endswith(f"\n{summary}")
    assert summary.startswith("### All sites: sparse_probing average_precision_max")
    assert all(word in summary for word in (BEFORE, AFTER, "early", "logistic"))
    assert "On pico · float32 · data bundled." in summary
    (cells,) = [line.split("|")[2:-1] for line in summary.splitlines() if line.startswith("| early")]
    assert [cell.strip() == MISSING for cell in cells] == [False, True]
    assert "All sites" not in sb.leaderboard(alone[:1]).to_markdown()


def test_two_models(concepts, tmp_path):
    saes = {"plain": small(0, model="pico"), "random": small(1, model="random:pico")}
    records = go(saes, HOOK, concepts, tmp_path, model=["pico", "random:pico"])
    assert [(r.site.model, r.subject.name, r.status) for r in records] == [
        ("pico", "plain", "ok"), ("random:pico", "random", "ok")
    ]  # fmt: skip
