"""The texts on which given latents of an SAE fire most, at the site and on the data of a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from saebench_lite.activations.pooling import Pooling, pooled_codes
from saebench_lite.api.context import EvalContext
from saebench_lite.data.types import Labelled
from saebench_lite.errors import SaebenchError
from saebench_lite.files import cache_root
from saebench_lite.loading import open
from saebench_lite.loading import spec as spec_module
from saebench_lite.records.record import Record
from saebench_lite.runs.setup import data_identity, load_data, load_model
from saebench_lite.saes.adapt import adapted
from saebench_lite.saes.conformance import conforming
from saebench_lite.saes.protocol import SAE, fingerprint, moved_to


class TopText(NamedTuple):
    """A text of a label's dataset."""

    code: float
    "The latent's pooled code."
    positive: bool
    text: str


def top_texts(
    record: Record,
    latents: Mapping[str, int],
    pooling: Pooling,
    n: int,
    *,
    sae: str,
    data: Sequence[str],
    limit: int | None = None,
    device: str = "cpu",
    cache: Path | None = None,
) -> dict[str, list[TopText]]:
    """The n texts with the largest pooled code of each label's latent, among all texts that the label is told of.

    SaebenchError where model, data or SAE are not those of the record.

    Args:
        record: names model, hook, number type, data and SAE.
        latents: label -> latent.
        pooling: how the tokens of a text become one value.
        n: texts a label.
        sae: spec of the SAE.
        data: specs of the data.
        limit: datasets per source at most, as in the run.
        device: where the model and the SAE run.
        cache: folder of cached activations; None: the user's.
    """
    loaded = load_data(data, limit)
    if data_identity(loaded).digest != record.data.digest:
        raise SaebenchError(
            f"data {', '.join(data)} is not that of the record ({record.data.name}, digest {record.data.digest});"
            " give the run's --data and --limit"
        )
    model = load_model(record.site.model, device, record.site.dtype)
    ctx = EvalContext(model, record.site.hook, loaded, cache=cache or cache_root())
    if ctx.site().weights != record.site.weights:
        raise SaebenchError(
            f"model {record.site.model!r} has other weights than the record's; give the folder of that run"
        )
    read = _read(sae, record, ctx)
    labelled = loaded.concepts if record.task.name == "concept_detection" else loaded.datasets
    out = {}
    for dataset in labelled:
        if dataset.name in latents:
            out[dataset.name] = _top(read, ctx, _cut(dataset, record), latents[dataset.name], pooling, n)
    return out


def _read(spec: str, record: Record, ctx: EvalContext) -> SAE:
    """The SAE of a spec, if it is the record's."""
    sae = conforming(adapted(moved_to(open.read(spec_module.parse(spec)), ctx.device)), d_in=ctx.d_in)
    if fingerprint(sae) != record.subject.fingerprint:
        raise SaebenchError(f"SAE {spec!r} has other weights than {record.subject.name!r} of the record; check --sae")
    return sae


def _cut(dataset: Labelled, record: Record) -> Labelled:
    """The dataset with its texts cut to the context that the record's settings ask for."""
    context = record.settings.get("context")
    if not isinstance(context, int):
        return dataset
    corpus = replace(dataset.corpus, context=min(context, dataset.corpus.context or context))
    return replace(dataset, corpus=corpus)


@torch.no_grad()
def _top(sae: SAE, ctx: EvalContext, dataset: Labelled, latent: int, pooling: Pooling, n: int) -> list[TopText]:
    """The top texts of one latent, the first of equal ones first.

    Args:
        sae: the SAE.
        ctx: the site.
        dataset: texts and labels.
        latent: its index.
        pooling: of tokens.
        n: texts.
    """
    acts = ctx.acts(dataset.corpus)
    codes = pooled_codes(sae, acts, (pooling,), torch.tensor([latent]), memory=ctx.memory)[pooling][:, 0].cpu()
    rows = torch.as_tensor(dataset.rows)
    order = codes[rows].argsort(descending=True, stable=True)[:n].tolist()
    texts = dataset.corpus.texts
    return [TopText(float(codes[rows[i]]), bool(dataset.positive[i]), texts[int(rows[i])]) for i in order]
