"""A planted attention sink changes no figure under the default rule, and every figure without one."""

import copy

import pytest
import torch

from saebench_lite.activations.pooling import pooled_acts
from saebench_lite.activations.store import collect
from saebench_lite.api.context import EvalContext
from saebench_lite.baselines import reft_r1
from saebench_lite.data.types import Corpus
from saebench_lite.errors import SaebenchError
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.models.token_rule import NO_SPECIAL_TOKENS, Positions, TokenRule
from saebench_lite.tasks import ce_delta, reconstruction, sparse_probing
from tests.conftest import HOOK
from tests.helpers.planted_sink import first, planted, tokens
from tests.helpers.planted_world import subject, values

STOP = "."
CE = ce_delta.Config(max_tokens=400, blocks=2)
EV = reconstruction.Config(max_tokens=4000, blocks=2)


@pytest.fixture(scope="module")
def stop(pico) -> int:
    return pico.tokenizer.get_vocab()[STOP]


@pytest.fixture(scope="module")
def without(pico, stop) -> LanguageModel:
    """pico without a sink, whose full stops a researcher has put among the special tokens by hand."""
    lm = copy.copy(pico)
    lm.special = torch.cat([pico.special, torch.tensor([stop])]).sort().values
    lm._positions = {}
    return lm


def figures(lm, few_texts, sae) -> dict[str, float]:
    """Explained variance, loss and the score of pooled codes."""
    ctx = EvalContext(lm, HOOK, few_texts)
    probing = values(sparse_probing.TASK, subject(sae), ctx, sparse_probing.Config())
    return {
        **values(ce_delta.TASK, subject(sae), ctx, CE),
        **values(reconstruction.TASK, subject(sae), ctx, EV),
        **{f"probing {name}": value for name, value in probing.items()},
    }


def differing(a: dict[str, float], b: dict[str, float], by: float) -> list[str]:
    assert a.keys() == b.keys()
    return [name for name in a if a[name] != pytest.approx(b[name], abs=by, rel=0, nan_ok=True)]


def test_a_sink_at_full_stops_changes_nothing_unless_it_is_read(pico, without, stop, few_texts, sae):
    want = figures(without, few_texts, sae)
    sink = planted(pico, tokens(stop))
    assert sink.positions(HOOK).code == f"{NO_SPECIAL_TOKENS},norm<=10xmedian"
    assert differing(figures(sink, few_texts, sae), want, 1e-6) == []
    read = figures(planted(pico, tokens(stop), leave_out="special"), few_texts, sae)
    assert {"explained_variance", "ce_mean", "loss_recovered_mean", "mse"} <= set(differing(read, want, 1e-3))
    assert any(name.startswith("probing") for name in differing(read, want, 1e-3))


def test_a_first_token_that_is_a_sink_gets_a_bos_in_front(pico, few_texts, sae):
    want = figures(pico, few_texts, sae)
    sink = planted(pico, first, adds_bos=False)
    assert sink.positions(HOOK).code == f"{NO_SPECIAL_TOKENS},bos:<|endoftext|>,norm<=10xmedian"
    assert differing(figures(sink, few_texts, sae), want, 1e-6) == []


def test_the_first_token_can_be_left_out_without_a_bos(pico):
    lm = planted(pico, first, adds_bos=False, bos="as-is")
    acts = collect(lm, HOOK, Corpus("t", ("The cat sat on the mat.", "Rain falls")))[0]
    assert lm.positions(HOOK).code == f"{NO_SPECIAL_TOKENS},norm<=10xmedian"
    assert acts.x.norm(dim=1).max() < 100
    assert acts.offsets.diff().tolist() == [
        n - 1
        for n in lm.real_lengths(
            lm.tokenize(["The cat sat on the mat.", "Rain falls"], context=None, long_texts="cut_right")
        )
    ]


def test_the_bundled_model_has_no_sink_and_its_records_keep_their_rule(pico):
    assert pico.positions(HOOK) == Positions(NO_SPECIAL_TOKENS, front="<|endoftext|>")
    real = torch.ones(2, 3, dtype=torch.bool)
    assert pico.positions(HOOK).read(real, torch.full((2, 3, 4), 1e9)) is real


def test_left_out_positions_by_hand():
    acts = torch.ones(4, 4, 1)
    acts[0, 1] = acts[2, 1:] = 50.0
    acts[3, 2] = float("nan")
    real = torch.tensor([[0, 1, 1, 1], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 1]]).bool()
    by_norm = Positions(limit=10.0).read(real, acts)
    assert by_norm.int().tolist() == [[0, 0, 1, 1], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
    both = Positions(limit=10.0, skips_first=True).read(real, acts)
    assert both.int().tolist() == [[0, 0, 1, 1], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    alone = Positions(skips_first=True).read(torch.tensor([[False, True], [False, False]]), torch.ones(2, 2, 1))
    assert alone.tolist() == [[False, True], [False, False]]


@pytest.mark.parametrize("on_disk", [False, True])
def test_stored_tokens_and_notes(pico, stop, tmp_path, on_disk):
    corpus = Corpus("t", (".", "A cat. A dog. Both", "Rain", "It falls."))
    cache = tmp_path if on_disk else None
    lm = planted(pico, tokens(stop))
    collect(lm, HOOK, corpus, cache=cache)
    acts, notes = collect(lm, HOOK, corpus, cache=cache)  # on disk: read from the cache
    want = [[row for row in whole if row.norm() < 100] or [whole[-1]] for whole in _whole(lm, corpus)]
    assert acts.offsets.diff().tolist() == [len(rows) for rows in want]
    torch.testing.assert_close(acts.x, torch.stack([row for rows in want for row in rows]), rtol=1e-4, atol=1e-4)
    total = sum(map(len, _whole(lm, corpus)))
    assert acts.tokens == total - 3
    assert notes == [f"3 of {total} tokens ({3 / total:.2%}) of 't' are left out by the token rule"]
    last, notes = collect(lm, HOOK, corpus, cache=cache, tokens="last")
    assert torch.equal(last.x, acts.x[acts.offsets[1:] - 1])
    assert notes == ["1 of 4 tokens (25.00%) of 't' are left out by the token rule"]
    assert pooled_acts(acts, "mean")[1:].norm(dim=1).max() < 100


def _whole(lm: LanguageModel, corpus: Corpus) -> list[torch.Tensor]:
    """Activations of all real tokens, text by text."""
    out = []
    for text in corpus.texts:
        ids = lm.tokenize([text], context=None, long_texts="cut_right")
        ((_, batch),) = lm.batches(ids, max_tokens=999)
        out.append(lm.collect(batch, [HOOK])[HOOK][batch.real])
    return out


def test_another_rule_is_another_cache_entry(pico, stop, tmp_path):
    corpus = Corpus("t", ("A cat. A dog.",))
    for i, rule in enumerate(["sinks", "special", "first", "sinks:20", "sinks"]):
        lm = planted(pico, tokens(stop), leave_out=rule)
        alone = collect(lm, HOOK, corpus)[0]
        assert torch.equal(collect(lm, HOOK, corpus, cache=tmp_path)[0].x, alone.x)
        assert len(list((tmp_path / "acts").iterdir())) == min(i + 1, 4)


def test_a_direction_is_trained_without_the_sinks(pico, without, stop, few_texts):
    rows, y = torch.arange(8), torch.arange(8) < 4
    want, got, read = (
        reft_r1.fit(EvalContext(lm, HOOK, few_texts), few_texts.texts[0], rows, y).weight
        for lm in (without, planted(pico, tokens(stop)), planted(pico, tokens(stop), leave_out="special"))
    )
    assert torch.allclose(got, want, atol=1e-6)
    assert not torch.allclose(read, want, atol=1e-2)


def test_bos_by_word_and_by_name(pico):
    bos, pad = (pico.tokenizer.get_vocab()[t] for t in ("<|endoftext|>", "<|pad|>"))
    (as_is,) = pico.tokenize(["The cat"], context=None, long_texts="cut_right")
    body = as_is[1:]

    def read(adds_bos: bool, word: str) -> tuple[list[int], str]:
        lm = planted(pico, tokens(), adds_bos=adds_bos, bos=word)
        (row,) = lm.tokenize(["The cat"], context=None, long_texts="cut_right")
        assert lm.real_lengths([row]) == [len(body)]
        return row, lm.positions(HOOK).code.removeprefix(NO_SPECIAL_TOKENS)

    for word in ("auto", "prepend", "as-is", "<|endoftext|>"):
        assert read(True, word) == ([bos, *body], "")
    assert read(True, "none") == (body, ",no-bos")
    assert read(True, "<|pad|>") == ([pad, *body], ",bos:<|pad|>")
    for word in ("auto", "as-is", "none"):  # no sink: nothing to put in front
        assert read(False, word) == (body, "")
    assert read(False, "prepend") == read(False, "<|endoftext|>") == ([bos, *body], ",bos:<|endoftext|>")
    named = planted(pico, tokens(), bos="the")
    assert named.fingerprint() == pico.fingerprint()  # of the weights, whatever is put in front
    with pytest.raises(SaebenchError, match=r"bos '<\|start\|>' is no token of planted; write auto, .*endoftext"):
        planted(pico, tokens(), bos="<|start|>")


@pytest.mark.parametrize("bad", ["sink", "sinks:", "sinks:1", "first:x", "special:3", "sinks:inf", ""])
def test_words_that_are_not_known(bad):
    with pytest.raises(SaebenchError, match=r"leave_out '.*' is not known; write special, sinks, first"):
        TokenRule(leave_out=bad)
    with pytest.raises(SaebenchError, match="bos is ''; write auto"):
        TokenRule(bos="")


@pytest.mark.parametrize("bos", ["as-is", "none", "<|endoftext|>"])
@pytest.mark.parametrize("leave_out", ["special", "sinks:10", "first:20"])
def test_a_rule_is_read_back_from_its_code(bos, leave_out):
    parts = ["no-special-tokens"]
    parts += {"as-is": [], "none": ["no-bos"]}.get(bos, [f"bos:{bos}"])
    word, _, ratio = leave_out.partition(":")
    parts += [f"norm<={ratio}xmedian"] if ratio else []
    parts += ["no-first"] if word == "first" else []
    assert TokenRule.of_code(",".join(parts)) == TokenRule(bos=bos, leave_out=leave_out)
