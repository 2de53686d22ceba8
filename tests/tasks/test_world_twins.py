"""RAVEL, steering and unlearning on a world, whose causes are planted: known answers, nulls, invariance, seeds."""

# pyright: reportOptionalOperand=false, reportOperatorIssue=false, reportOptionalCall=false
# Scores here have intervals.

import pytest
import torch

from saebench_lite import registry
from saebench_lite.api.context import EvalContext
from saebench_lite.api.subject import ProbeSubject
from saebench_lite.baselines import permuted_decoder
from saebench_lite.errors import NotApplicable
from saebench_lite.probes.logistic import diff_in_means
from saebench_lite.runs.evaluate import summarise
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.wrapped import WrappedSAE
from saebench_lite.tasks._ravel_world import EntityWorld
from saebench_lite.tasks._unlearning_edits import answers
from saebench_lite.tasks._world_truth import informed
from saebench_lite.worlds.concepts import build
from saebench_lite.worlds.model import WorldModel
from saebench_lite.worlds.oracle import OracleSAE
from saebench_lite.worlds.toggle import family, frequent_heads, magnitudes, switched_off
from tests.helpers.planted_world import subject

SEEDS = {"ravel": [42, 43], "steering": [42], "unlearning": [42, 43]}
SETTINGS = {
    "ravel": {"entities": 40, "trials": 12, "steps": 8, "dimensions": 8},
    "steering": {"concepts": 5, "prompts": 24, "random": 6, "new_tokens": 12, "strengths": (0.2, 0.4, 0.8)},
    "unlearning": {"texts": 20, "retain_share": 0.1, "retained": 120},
}
MAIN = {"ravel": "disentangle", "steering": "score", "unlearning": "gain"}


class Rescaled(WrappedSAE):
    """Codes three times as large, decoder rows a third as long."""

    def encode(self, x):
        return 3 * super().encode(x)

    def decode(self, f):
        return super().decode(f / 3)

    def decode_like(self, f, x):
        return super().decode_like(f / 3, x)

    @property
    def decoder(self):
        return super().decoder / 3


class Arbitrary:
    """Codes that have nothing to do with the features: a latent fires at a fifth of the samples, as if by lot."""

    d_in, d_sae = 24, 96

    def __init__(self):
        g = torch.Generator().manual_seed(5)
        self._mix, self.decoder = 1e4 * torch.randn(24, 96, generator=g), torch.randn(96, 24, generator=g)

    def encode(self, x):
        lot = (x @ self._mix).frac().abs()
        return 5 * torch.where(lot < 0.2, lot + 0.5, 0.0)

    def decode(self, f):
        return f @ self.decoder


@pytest.fixture(scope="module")
def ctx():
    lm = WorldModel.load("tiny")
    return EvalContext(lm, "world", build(lm, 512))


@pytest.fixture(scope="module")
def oracle(ctx):
    return OracleSAE(ctx.lm, 24, 2)


@pytest.fixture(scope="module")
def prepared(ctx):
    """{task: (settings, what all subjects share)}."""
    out = {}
    for name, settings in SETTINGS.items():
        task = registry.get("tasks", name)
        cfg = task.config(**settings)
        out[name] = cfg, task.prepare(ctx, cfg, SEEDS[name])
    return out


def scored(name, ctx, prepared, sae):
    """Summaries by metric, and the diagnostics."""
    task, (cfg, shared) = registry.get("tasks", name), prepared[name]
    who = sae if isinstance(sae, ProbeSubject) else subject(sae)
    out = task.evaluate(who, ctx, shared, cfg, SEEDS[name])
    return summarise(out, task.card)[0], out.diagnostics


def random_sae(seed: int = 0) -> AffineSAE:
    w = torch.randn(24, 24, generator=torch.Generator().manual_seed(seed))
    return AffineSAE(W_enc=w, W_dec=w.T / 24, b_enc=torch.full((24,), -8.0), activation="relu")


def test_ravel_on_a_world(ctx, prepared, oracle):
    got, _ = scored("ravel", ctx, prepared, oracle)
    assert got["disentangle"].value > 0.95
    for beside in ("diff_in_means", "das"):
        assert got[f"disentangle_{beside}"].value > got["disentangle_random"].value + 0.1
    silent = AffineSAE(W_enc=torch.zeros(24, 8), W_dec=torch.zeros(8, 24), activation="relu")
    got, about = scored("ravel", ctx, prepared, silent)
    assert [got[m].value for m in ("cause", "isolate", "disentangle")] == [0, 1, 0.5]
    assert all(right > 0.9 * asked for of in about["known"].values() for right, asked in of.values())
    for sae in (permuted_decoder.derive(oracle, ctx, 0), random_sae()):
        assert scored("ravel", ctx, prepared, sae)[0]["disentangle"].value < 0.65


def test_entities_have_one_value_of_each_attribute_and_are_asked_for_it(ctx):
    asked = EntityWorld(ctx.lm, 30)
    for place, features in enumerate(asked.sets):
        on = asked.truth[:, features] > 0
        assert (on.sum(1) == 1).all()
        assert torch.equal(on.int().argmax(1), asked.value[:, place])
    again = asked.truth @ ctx.lm.world.directions + ctx.lm.world.bias
    assert (asked.x - again).std().item() == pytest.approx(ctx.lm.world.spec.noise, rel=0.05)
    ids = asked.tokenize(["entity3 test attribute1", "entity7 test attribute0"], context=None, long_texts="refuse")
    ((_, batch),) = asked.batches(ids, max_tokens=99)
    wanted = [asked.entities.attributes[e][a] for e, a in (("entity3", "attribute1"), ("entity7", "attribute0"))]
    said = asked.logits(batch)[:, -1]
    assert said.argmax(1).tolist() == [i[0] for i in asked.tokenize(wanted, context=None, long_texts="refuse")]
    assert (said > -1e3).sum(1).tolist() == [asked.sets.shape[1]] * 2


def test_steering_on_a_world(ctx, prepared, oracle):
    got, about = scored("steering", ctx, prepared, oracle)
    assert got["score"].low > 0.4
    assert got["presence"].value > 0.8
    assert got["dose_response"].value > 0.9
    assert got["classifier_auroc"].value > 0.9
    assert got["prompting"].value > 0.7 > 0.3 > got["unsteered"].value
    features = [int(name.split()[1]) for name in about]
    assert [int(oracle.features[about[name]["latent"]]) for name in about] == features
    for seed in (1, 2):
        decoder = torch.randn(24, 24, generator=torch.Generator().manual_seed(seed))
        turned = WrappedSAE(oracle, {})
        turned.__class__ = type("Turned", (WrappedSAE,), {"decoder": decoder})
        null = scored("steering", ctx, prepared, turned)[0]
        assert null["score"].low < 0 < null["score"].high
        assert null["matched_presence"].low < 0 < null["matched_presence"].high


def test_directions_of_norm_0_steer_nothing_and_mean_differences_steer(ctx, prepared, oracle):
    nothing = type("Nothing", (WrappedSAE,), {"decoder": torch.zeros(24, 24)})(oracle, {})
    got, _ = scored("steering", ctx, prepared, nothing)
    assert got["presence"].value == got["unsteered"].value
    probe = ProbeSubject(name="p", kind="baseline", fingerprint="p", probe=diff_in_means)
    assert scored("steering", ctx, prepared, probe)[0]["score"].low > 0.2


def test_texts_of_a_concept_hold_it_at_every_token_or_nowhere_and_prompts_hold_none(ctx, prepared):
    writer = prepared["steering"][1].writer
    world, n = ctx.lm.world, writer.uniform.numel()
    concepts = torch.tensor(list(writer.features.values()))
    neutral = switched_off(world, world.features(n, "steering prompts", 42), concepts) @ world.directions + world.bias
    assert (writer.prompts.flatten(0, 1) - neutral).std().item() == pytest.approx(world.spec.noise, rel=0.05)
    for target in prepared["steering"][1].targets[:2]:
        corpus, positive = target.concept.labelled.corpus, target.concept.labelled.positive
        feature, acts = writer.features[corpus.name], writer.acts(target.concept.labelled.corpus)
        truth = writer.truth(feature).to_dense()
        assert ((truth[:, feature] > 0).view(len(acts), -1) == torch.from_numpy(positive)[:, None]).all()
        again = truth @ ctx.lm.world.directions + ctx.lm.world.bias
        assert (acts.x - again).std().item() == pytest.approx(ctx.lm.world.spec.noise, rel=0.05)


def test_unlearning_on_a_world(ctx, prepared, oracle):
    got, about = scored("unlearning", ctx, prepared, oracle)
    assert got["alignment"].value > 0.85
    assert got["retained"].value > 0.95
    assert got["gain"].low > 0.6
    for name, edits in about["edits"].items():
        latents = oracle.features[edits["42"]["latents"][:1]].tolist()
        assert name == f"domain {latents[0]}"  # the feature fires at all of its domain's tokens
    assert scored("unlearning", ctx, prepared, permuted_decoder.derive(oracle, ctx, 0))[0]["gain"].value < 0.7
    silent = AffineSAE(W_enc=torch.zeros(24, 8), W_dec=torch.zeros(8, 24), activation="relu")
    none = scored("unlearning", ctx, prepared, silent)[0]
    assert [none[m].value for m in ("alignment", "retained", "gain", "retain_kl")] == [0, 1, 0, 0]
    cfg, shared = prepared["unlearning"]
    free = {"unlearning": (type(cfg)(**{**cfg.__dict__, "retain_share": 1.0}), shared)}
    lot = scored("unlearning", ctx, free, Arbitrary())[0]["gain"]
    assert lot.low < 0 < lot.high


def test_who_takes_away_the_domain_alone_is_at_chance(ctx, prepared):
    world = ctx.lm.world
    for known in prepared["unlearning"][1]:
        assert answers(ctx, known.pieces).right.all()
        questions, feature = known.world, int(known.domain.name.split()[1])
        places = known.domain.forget
        gone = family(world, torch.tensor([feature]))
        rows = [int((questions._x == questions.asked[p]).all(1).nonzero()[0, 0]) for p in places]
        without = questions.asked[places] - questions._truth[rows][:, gone] @ world.directions[gone]
        chosen = ctx.lm.to_logits(without).gather(1, questions.options[places])
        right = (chosen[:, :1] > chosen[:, 1:]).all(1)
        assert right.double().mean().item() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("name", list(SETTINGS))
def test_scale_does_not_matter_and_a_seed_gives_the_same_bits(ctx, prepared, oracle, name):
    """Scores of another seed are others."""
    task, cfg = registry.get("tasks", name), prepared[name][0]
    first = {m: s.value for m, s in scored(name, ctx, prepared, oracle)[0].items()}
    rescaled = scored(name, ctx, prepared, Rescaled(oracle, {}))[0]
    assert {m: s.value for m, s in rescaled.items()} == pytest.approx(first, abs=1e-5)
    again = {name: (cfg, task.prepare(ctx, cfg, SEEDS[name]))}
    assert {m: s.value for m, s in scored(name, ctx, again, oracle)[0].items()} == first
    sae, seeds = random_sae(), [44, 45]
    other = task.config(**SETTINGS[name], **({"seed": 7} if name == "steering" else {}))
    got = task.evaluate(subject(sae), ctx, task.prepare(ctx, other, seeds), other, seeds)
    assert summarise(got, task.card)[0][MAIN[name]].value != scored(name, ctx, prepared, sae)[0][MAIN[name]].value


def test_an_oracle_knows_what_a_task_made_wrapped_or_not(ctx, oracle):
    world = ctx.lm.world
    a = switched_off(world, world.features(50, "fresh"), frequent_heads(ctx.lm)[:1])
    x = world.activations(a, "fresh")
    assert not oracle.encode(x).any()
    for sae in (oracle, Rescaled(oracle, {})):
        for truth in (a, a.to_sparse()):
            got = informed(sae, x, lambda truth=truth: truth)
            torch.testing.assert_close(got.decode(got.encode(x)), oracle.decode(a[:, oracle.features]))
    assert not oracle.encode(x).any()
    plain = random_sae()
    assert informed(plain, x, lambda: pytest.fail("asked")) is plain


def test_features_are_switched_with_their_trees():
    world = WorldModel.load("tiny,depth=2,branching=2,roots=8").world
    member = family(world, torch.tensor([3, 90]))
    assert member.nonzero()[:, 0].tolist() == [3, 14, 15, 36, 37, 38, 39, 90]
    a = world.features(400, "t")
    off = switched_off(world, a, torch.tensor([3]))
    assert a[:, 3].any()
    assert not off[:, member & (torch.arange(96) != 90)].any()
    assert torch.equal(off[:, ~member], a[:, ~member])
    varied = int(world.sd.argmax())
    size = magnitudes(world, torch.full((2000,), varied), torch.Generator().manual_seed(0))
    assert size.min() == 0.5 * world.mean[varied]
    assert size.mean().item() == pytest.approx(world.mean[varied].item(), rel=0.05)


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("ravel", {"folder": "x"}, "reads no words; leave ravel.folder out"),
        ("steering", {"judge_model": "m"}, "writes no words; leave steering.judge_model out"),
        ("unlearning", {"questions": "x"}, "reads no words; leave unlearning.questions out"),
    ],
)
def test_what_a_world_cannot_be_asked(ctx, name, settings, sentence):
    task = registry.get("tasks", name)
    with pytest.raises(NotApplicable, match=sentence):
        task.prepare(ctx, task.config(**settings), [42])


def test_a_world_with_too_few_features_says_so(ctx):
    few = EvalContext(WorldModel.load("tiny,features=8,roots=1"), "world", ctx.data)
    for name, sentence in (("ravel", "two attributes of two values need 4"), ("unlearning", "has no two frequent")):
        task = registry.get("tasks", name)
        with pytest.raises(NotApplicable, match=sentence):
            task.prepare(few, task.config(), [42])
