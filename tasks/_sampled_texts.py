"""The data's texts, evenly spaced until there are as many tokens as a task reads."""

from __future__ import annotations

from saebench_lite.api.context import EvalContext
from saebench_lite.data.sampling import even_texts


def sampled(ctx: EvalContext, max_tokens: int, context: int) -> list[tuple[str, list[int]]]:
    """Texts with their token ids, cut to `context` tokens: as many of each corpus as make its share of `max_tokens`."""
    lm, chosen = ctx.lm, list[tuple[str, list[int]]]()
    for corpus in ctx.data.texts:
        ids = lm.tokenize(corpus.texts, context=min(context, lm.context), long_texts="cut_right")
        taken = even_texts([len(row) for row in ids], max_tokens // len(ctx.data.texts))
        chosen += [(corpus.texts[i], ids[i]) for i in taken]
    return chosen


def sampled_tokens(ctx: EvalContext, max_tokens: int, context: int) -> int:
    """Estimated tokens of `sampled`, special ones left out."""
    share = max_tokens // max(1, len(ctx.data.texts))
    return sum(min(share, ctx.estimated_tokens(corpus, context)) for corpus in ctx.data.texts)
