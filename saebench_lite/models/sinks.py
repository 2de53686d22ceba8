"""What a token rule comes to for a model: its BOS, and the norms of fixed texts shipped with the package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from saebench_lite.bundled import concept_texts
from saebench_lite.errors import SaebenchError
from saebench_lite.models.protocol import Model
from saebench_lite.models.token_rule import BOS_WORDS, NO_SPECIAL_TOKENS, Front, Positions, TokenRule

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SAMPLE_TEXTS, SAMPLE_CONTEXT = 64, 64
"Texts that are measured, and tokens of each at most."


def front(lm: Model, rule: TokenRule) -> Front:
    """What the rule's `bos` comes to for a model that is not told yet; `auto` reads a few texts.

    SaebenchError for a token that the vocabulary lacks, and where BOS is wanted and the tokenizer has none.
    """
    t: PreTrainedTokenizerBase = lm.tokenizer
    row, bare = (list(t("The", add_special_tokens=adds)["input_ids"]) for adds in (True, False))
    added = row[0] if len(row) > len(bare) and row[1 : len(bare) + 1] == bare and row[0] in lm.special else None
    as_is = Front(text=None if added is None else _text(t, added))
    if rule.bos == "as-is":
        return as_is
    if rule.bos == "none":
        return as_is if added is None else Front(removes=added, code=",no-bos")
    if rule.bos not in BOS_WORDS:
        token = t.get_vocab().get(rule.bos)
        if token is None:
            raise SaebenchError(
                f"bos {rule.bos!r} is no token of {lm.name}; write {', '.join(BOS_WORDS)}, or a token such as"
                f" {', '.join(map(repr, t.all_special_tokens[:3])) or repr(_text(t, 0))}"
            )
        return as_is if token == added else Front(token, added, rule.bos, f",bos:{rule.bos}")
    if added is not None:
        return as_is
    token = cast("int | None", t.bos_token_id if t.bos_token_id is not None else t.eos_token_id)
    if rule.bos == "auto" and (token is None or not _first_is_sink(lm, rule.ratio)):
        return as_is
    if token is None:
        raise SaebenchError(f"{lm.name} has no BOS and no EOS token to prepend; give the text of one as bos")
    return Front(token, None, _text(t, token), f",bos:{_text(t, token)}")


def positions(lm: Model, hook: str, rule: TokenRule, front: Front) -> Positions:
    """What the rule comes to at a hook, measured on the sample.

    Sinks are looked for among special tokens too: a model whose BOS is one may turn a word into one elsewhere.

    Args:
        lm: the model, with what `front` says already put in front of texts.
        hook: hook point.
        rule: what is asked for.
        front: what the rule's `bos` came to.
    """
    norms = _norms(lm, hook, SAMPLE_TEXTS)
    real = torch.cat([row[mask] for row, mask, _ in norms])
    code, limit, share, any_sink = NO_SPECIAL_TOKENS + front.code, float("inf"), 0.0, False
    if len(real):
        limit = rule.ratio * float(real.median())
        any_sink = any(bool((row[attention] > limit).any()) for row, _, attention in norms)
        share = float((real > limit).double().mean())
    reads_sinks = rule.leave_out == "special"
    if any_sink and not reads_sinks:
        code += f",norm<={rule.ratio:g}xmedian"
    else:
        limit = float("inf")
    first = rule.leave_out.startswith("first")
    clauses = []
    if any_sink:
        fate = "read all the same" if reads_sinks else "left out of every statistic"
        median = f"{rule.ratio:g} times the median of {float(real.median()):.3g}"
        clauses.append(f"tokens with a norm over {median} (attention sinks, {share:.2%} of a sample) are {fate}")
    if front.code:
        clauses.append(f"each text begins with {front.text!r}" if front.text else "the tokenizer's BOS is taken away")
    if first:
        clauses.append("the first token of each text is left out")
    finding = f"{lm.name}, {hook}: {'; '.join(clauses)}" if clauses else ""
    return Positions(code + ",no-first" * first, limit, first, front.text, finding, share)


def _first_is_sink(lm: Model, ratio: float) -> bool:
    """Whether the first token's norm is over `ratio` times the median in most sampled texts, in the middle block."""
    norms = _norms(lm, f"blocks.{lm.n_layers // 2}.hook_resid_post", SAMPLE_TEXTS // 4)
    rows = [row[mask] for row, mask, _ in norms if mask.any()]
    if not rows:
        return False
    limit = ratio * torch.cat(rows).median()
    return sum(bool(row[0] > limit) for row in rows) > len(rows) / 2


def _norms(lm: Model, hook: str, texts: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(norms [L], real [L], attention [L]) of each sampled text."""
    lines = [line for topic in concept_texts().values() for section in topic.values() for line in section]
    sample = [lines[i * len(lines) // texts] for i in range(texts)]
    ids = lm.tokenize(sample, context=min(SAMPLE_CONTEXT, lm.context), long_texts="cut_right")
    out = []
    for _, batch in lm.batches(ids, max_tokens=2048):
        norms = lm.collect(batch, [hook])[hook].float().norm(dim=-1).cpu()
        out += zip(norms, batch.real.cpu(), batch.attention.cpu(), strict=True)
    return out


def _text(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    any_tokenizer: Any = tokenizer  # typed as if the answer could be a list
    return any_tokenizer.convert_ids_to_tokens(token)
