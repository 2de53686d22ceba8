"""On a GPU: the CPU's scores within stated tolerances, bf16 beside float32, memory within its budget.

Tolerances. A float32 model on both devices: activations agree to about 1e-5 of their size (other order of summation,
TF32 off), so means over tokens (reconstruction, losses) agree to 1e-3 relative, and scores that rank texts or count
them to 0.02: a text or a latent whose score ties to the last digits can change places. A bf16 model rounds activations
to 3 digits: explained variance within 0.02, losses within 0.05 nats.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from saebench_lite.activations.pooled_codes import Pooled
from saebench_lite.activations.pooling import pooled_codes
from saebench_lite.activations.store import collect
from saebench_lite.api.probe_types import TrainingSet
from saebench_lite.data.types import Corpus
from saebench_lite.metrics.classification import auroc
from saebench_lite.metrics.next_token import comparable, fused_on, losses, losses_and_divergence
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.probes.best_latents import Samples, best_latent_scores
from saebench_lite.probes.shared_rows import fit_each
from saebench_lite.probes.validated import fit_logistic_validated
from saebench_lite.runs.runner import run
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.worlds import truth
from tests.conftest import HOOK
from tests.helpers.few_acts import HOW, some_acts, topk
from tests.helpers.few_texts import SETTINGS, jumping

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(scope="module", autouse=True)
def _device_at_work():
    """CUDA, its libraries and the model's kernels are loaded before the first test is timed."""
    pico = LanguageModel.load("pico", device="cuda")
    pico.logits(next(pico.batches(pico.tokenize(["A text."], context=None, long_texts="cut_right"), max_tokens=64))[1])


MEANS = {"reconstruction": 1e-3, "ce_delta": 1e-3}
RANKS = 0.02


def figures(data, sae, task: str, **how) -> dict[tuple[str, str], float]:
    records = run(
        {"jump": jumping(), "topk": sae},
        model="pico",
        hook=HOOK,
        data=data,
        tasks=[task],
        settings={task: SETTINGS[task]},
        baselines=["diff_in_means", "logistic"],
        seeds=1,
        **how,
    )
    assert {r.status for r in records} == {"ok"}
    return {(r.subject.name, metric): entry.value for r in records for metric, entry in r.scores.items()}


@pytest.mark.parametrize("task", list(SETTINGS))
def test_a_task_gives_the_scores_of_the_cpu(few_texts, sae, task, tmp_path):
    want = figures(few_texts, sae, task, device="cpu", cache=tmp_path / "cpu")
    got = figures(few_texts, sae, task, device="cuda", cache=tmp_path / "cuda")
    assert got.keys() == want.keys()
    for key, value in got.items():
        tolerance = MEANS[task] * max(1.0, abs(want[key])) if task in MEANS else RANKS
        assert value == pytest.approx(want[key], abs=tolerance), key


def test_a_bf16_model_stays_near_the_float32_one(few_texts, sae, tmp_path):
    for task, metric, tolerance in (
        ("reconstruction", "explained_variance", 0.02),
        ("ce_delta", "ce_clean", 0.05),
        ("ce_delta", "ce_delta", 0.05),
    ):
        want = figures(few_texts, sae, task, device="cuda", cache=tmp_path / "a")
        got = figures(few_texts, sae, task, device="cuda", dtype="bfloat16", cache=tmp_path / "b")
        for who in ("jump", "topk"):
            assert got[who, metric] == pytest.approx(want[who, metric], abs=tolerance), (who, metric)


def test_tf32_is_off():
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("sae", [topk(), AffineSAE(W_enc=topk().W_enc, W_dec=topk().W_dec)])
def test_pooled_codes_are_those_of_the_cpu(sae):
    acts = some_acts()
    want, got = pooled_codes(sae, acts, HOW), pooled_codes(sae.to("cuda"), acts, HOW)
    for name in HOW:
        torch.testing.assert_close(got[name].cpu(), want[name], rtol=1e-4, atol=1e-4)


def test_probes_and_auroc_are_those_of_the_cpu():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(30, 300, 8, generator=g)
    y = x[..., 0] + torch.randn(30, 300, generator=g) > 0
    want = fit_logistic_validated(x, y, torch.ones_like(y))
    got = fit_logistic_validated(x.cuda(), y.cuda(), torch.ones_like(y).cuda())
    torch.testing.assert_close(got.weight.cpu(), want.weight, rtol=1e-6, atol=1e-6)
    wide, n = torch.randn(500, 80, generator=g), (30, 200, 45, 400)
    sets = [TrainingSet(torch.randint(500, (m,), generator=g), torch.rand(m, generator=g) > 0.4) for m in n]
    on_card = [TrainingSet(*map(Tensor.cuda, s)) for s in sets]
    want, got = fit_each.fit_sets(wide, sets), fit_each.fit_sets(wide.cuda(), on_card)
    torch.testing.assert_close(got.weight.cpu(), want.weight, rtol=1e-5, atol=1e-6)
    table = torch.rand(500, 90, generator=g).round(decimals=2)
    there = table.cuda()
    assert torch.equal(auroc(there[:, :40], there[:, 40:]).cpu(), auroc(table[:, :40], table[:, 40:]))


def test_best_latents_and_counts_are_those_of_the_cpu():
    g = torch.Generator().manual_seed(0)
    codes = torch.randn(400, 60, generator=g).relu().round(decimals=1)
    fires = (codes[:, :20] > 0.8) ^ (torch.rand(400, 20, generator=g) < 0.05)
    there = Samples(codes.cuda(), fires.cuda())
    want, got = best_latent_scores(of := Samples(codes, fires), of), best_latent_scores(there, there)
    torch.testing.assert_close([t.cpu() for t in got], list(want), rtol=1e-12, atol=1e-12)
    sides = truth.firing(codes), truth.firing(fires)
    counts, want = truth.count(*(side.to("cuda") for side in sides)), truth.count(*sides)
    for there, here in zip(counts[:3], want[:3], strict=True):
        assert torch.equal(there.cpu(), here)
    torch.testing.assert_close(truth.of_features(counts).cpu(), truth.of_features(want), rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_losses_and_divergence_in_one_pass_are_those_of_the_plain_path(dtype):
    g = torch.Generator().manual_seed(0)
    clean, spliced = (4 * torch.randn(3, 9, 50_257, generator=g).to(dtype) for _ in range(2))
    ids = torch.randint(0, 50_257, (3, 9), generator=g)
    want = losses_and_divergence(comparable(clean), spliced, ids)
    there = clean.cuda(), spliced.cuda(), ids.cuda()
    assert fused_on(there[0].device)
    got = losses_and_divergence(comparable(there[0]), *there[1:])
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(losses(*there[1:]).cpu(), want[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bf16", [True, False])
def test_products_in_pieces_keep_the_digits_of_float32(bf16):
    """tf32x3 within 1e-5 of the size of a row of products, whatever the activations are; float32 is at 1e-6."""
    g = torch.Generator().manual_seed(0)
    w = torch.nn.functional.normalize(torch.randn(4096, 2304, generator=g))
    x = torch.randn(512, 2304, generator=g)
    x = x.bfloat16().float() if bf16 else x
    sae = AffineSAE(W_enc=w.T, W_dec=w, b_dec=torch.randn(2304, generator=g), activation="identity").to("cuda")
    want = sae.encode(x.cuda()).double()
    got = sae.encoding("tf32x3").encode(x.cuda()).double()
    assert ((got - want).norm() / want.norm()).item() < 1e-5
    assert not torch.backends.cuda.matmul.allow_tf32


def test_blocks_keep_device_memory_within_the_budget():
    """Beside the SAE and one chunk's codes (1 GiB at most) no more than twice the budget is taken."""
    acts, budget = some_acts(texts=400), 1 << 24
    w = torch.randn(1 << 16, 16, generator=torch.Generator("cuda").manual_seed(0), device="cuda")
    sae = AffineSAE(W_enc=w.T, W_dec=w)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    for _, tables in Pooled(sae, acts, ("max",), budget).blocks():
        assert tables["max"].nbytes <= budget
    assert torch.cuda.max_memory_allocated() - before <= 2 * budget + (1 << 30)


def test_activations_arrive_whole_from_pinned_memory():
    acts = some_acts(texts=500)
    there = torch.cat([x for _, x, _ in acts.chunks(7, "cuda")])
    assert torch.equal(there.cpu(), acts.x)


@pytest.mark.parametrize("resident", [0, 1 << 30])
@pytest.mark.parametrize("tokens", ["all", "last"])
def test_activations_of_a_model_are_those_of_the_cpu(few_texts, tokens, resident, tmp_path):
    corpus = few_texts.texts[0]
    want, _ = collect(LanguageModel.load("pico"), HOOK, corpus, tokens=tokens)
    how = {"tokens": tokens, "batch_tokens": 300, "resident": resident}
    for cache in (None, tmp_path, tmp_path):  # the last one is read
        got, _ = collect(LanguageModel.load("pico", device="cuda"), HOOK, corpus, cache=cache, **how)
        torch.testing.assert_close(got.x.cpu(), want.x, rtol=1e-4, atol=1e-4)
        assert torch.equal(got.on("cuda").x.cpu(), got.x.cpu())
    first, _ = collect(LanguageModel.load("pico", device="cuda"), HOOK, corpus, **how)
    assert first.x.is_cuda is (resident > 0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_texts_that_share_a_beginning_are_those_one_by_one(dtype, monkeypatch):
    """Half precision rounds either way; two texts of one beginning differ by far more."""
    pico = LanguageModel.load("pico", device="cuda", dtype=dtype)
    texts = tuple("x y" * n + word for n in (3, 20) for word in (" a", " to", " in", " of"))
    assert pico.shared_beginnings() == 128
    packed = collect(pico, HOOK, Corpus("t", texts), tokens="last")[0].x.float()
    monkeypatch.setattr(LanguageModel, "shared_beginnings", lambda self: 0)
    alone = collect(pico, HOOK, Corpus("t", texts), tokens="last")[0].x.float()
    error = (packed - alone).norm(dim=1) / alone.norm(dim=1)
    assert error.max() < (1e-4 if dtype == "float32" else 0.03)
    assert (alone[0] - alone[1]).norm() > 0.1 * alone[0].norm()


def test_norms_of_a_16_bit_model_are_fused_and_round_as_its_modules():
    quick, plain = (LanguageModel.load("pico", device=device, dtype="bfloat16") for device in ("cuda", "cpu"))
    norms = [m for m in quick.net.modules() if type(m).__name__.endswith("RMSNorm")]
    assert norms
    assert all("forward" in vars(m) for m in norms)
    x = torch.randn(64, quick.width, generator=torch.Generator().manual_seed(0)).bfloat16()
    for fused, module in zip(norms, [m for m in plain.net.modules() if type(m) is type(norms[0])], strict=True):
        got, want = fused(x.cuda()).cpu(), module(x)
        torch.testing.assert_close(got, want, rtol=2 * torch.finfo(torch.bfloat16).eps, atol=0.0)
        assert (got == want).float().mean() > 0.98
