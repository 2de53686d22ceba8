"""The texts on which given latents of an SAE fire most, at the site and on the data of a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.activations.pooling import Pooling, pooled_codes
from saebench_lite.api.context import EvalContext
from saebench_lite.bundled import sae_folders
from saebench_lite.data.thinning import thinned
from saebench_lite.data.types import Data, Labelled
from saebench_lite.errors import SaebenchError
from saebench_lite.files import cache_root
from saebench_lite.loading import open
from saebench_lite.loading import spec as spec_module
from saebench_lite.models.token_rule import TokenRule
from saebench_lite.names import AUTO_DEVICE
from saebench_lite.records.record import Record
from saebench_lite.runs.config import RunConfig
from saebench_lite.runs.runner import CONFIG_FILE
from saebench_lite.runs.setup import data_identity, load_data, load_model, with_texts
from saebench_lite.runs.sites import split_spec
from saebench_lite.saes.adapt import adapted
from saebench_lite.saes.conformance import conforming
from saebench_lite.saes.identity import fingerprint
from saebench_lite.saes.protocol import SAE, moved_to


class TopText(NamedTuple):
    """A text of a label's dataset."""

    code: float
    "The latent's pooled code."
    positive: bool
    text: str


class Asked(NamedTuple):
    """What a record does not name: where its SAE and its data lie."""

    sae: str
    data: tuple[str, ...]
    text_data: tuple[str, ...] | None
    limit: int | None
    max_texts: int | None
    context: int | None


def asked_for(record: Record, folder: Path, sae: str | None, data: Sequence[str] | None, limit: int | None) -> Asked:
    """What is given, else what a run.yaml of a results folder names, else the bundled SAE and data of that name.

    Of several (run.yaml, run-2.yaml, ...) that which names the SAE and gives the record's data. SaebenchError where
    the SAE is not found.

    Args:
        record: of the SAE.
        folder: results folder.
        sae: spec of the SAE.
        data: specs of the data.
        limit: datasets per source at most.
    """
    files = sorted(folder.glob(CONFIG_FILE.replace(".", "*.")), key=lambda f: (len(f.name), f.name))
    configs = [RunConfig.from_file(file) for file in files] or [RunConfig(data=(record.data.name,))]
    found: dict[Asked, None] = {}
    for config in configs:
        specs = [split_spec(s).spec for s in (*(config.saes or ()), *map(str, sae_folders()))]
        spec = (
            next((s for s in specs if spec_module.parse(s).name == record.subject.name), None) if sae is None else sae
        )
        if spec is not None:
            of = config.data if data is None else tuple(data), config.limit if limit is None else limit
            found[Asked(spec, of[0], config.text_data, of[1], config.max_texts, config.context)] = None
    if not found:
        raise SaebenchError(f"nothing tells where SAE {record.subject.name!r} lies; give --sae [loader:]path")
    first, *others = found
    return next((a for a in found if data_identity(_data(a)).digest == record.data.digest), first) if others else first


def _data(asked: Asked) -> Data:
    """The data of a run."""
    data = with_texts(load_data(asked.data, asked.limit), asked.text_data, asked.limit)
    return thinned(data, asked.max_texts, asked.context)


def top_texts(
    record: Record,
    latents: Mapping[str, int],
    pooling: Pooling,
    n: int,
    asked: Asked,
    *,
    device: str = AUTO_DEVICE,
    cache: Path | None = None,
) -> dict[str, list[TopText]]:
    """The n texts with the largest pooled code of each label's latent, among all texts that the label is told of.

    SaebenchError where model, data or SAE are not those of the record.

    Args:
        record: names model, hook, number type, data and SAE.
        latents: label -> latent.
        pooling: how the tokens of a text become one value.
        n: texts a label.
        asked: the SAE and the data, as in the run.
        device: where the model and the SAE run.
        cache: folder of cached activations; None: the user's.
    """
    loaded = _data(asked)
    if data_identity(loaded).digest != record.data.digest:
        raise SaebenchError(
            f"data {', '.join(asked.data)} is not that of the record ({record.data.name}, digest {record.data.digest});"
            " give the run's --data and --limit, and the results folder with its run.yaml"
        )
    rule = TokenRule.of_code(record.site.token_rule)
    model = load_model(record.site.model, device, record.site.dtype, rule)
    ctx = EvalContext(model, record.site.hook, loaded, cache=cache or cache_root())
    if ctx.site().weights != record.site.weights:
        raise SaebenchError(
            f"model {record.site.model!r} has other weights than the record's; give the folder of that run"
        )
    read = _read(asked.sae, record, ctx)
    kind = loaded.concepts if record.task.name == "concept_detection" else loaded.datasets
    labelled = [_cut(dataset, record) for dataset in kind if dataset.name in latents]
    out: dict[str, list[TopText]] = {}
    for corpus in dict.fromkeys(d.corpus.fingerprint for d in labelled):
        together = [d for d in labelled if d.corpus.fingerprint == corpus]
        columns = torch.tensor(sorted({latents[d.name] for d in together}))
        with torch.no_grad():
            table = pooled_codes(read, ctx.acts(together[0].corpus), (pooling,), columns, memory=ctx.memory)[pooling]
        for dataset in together:
            column = table[:, int(torch.searchsorted(columns, latents[dataset.name]))].cpu()
            out[dataset.name] = _top(column, dataset, n)
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


def _top(codes: Tensor, dataset: Labelled, n: int) -> list[TopText]:
    """The n texts of a dataset with the largest codes, the first of equal ones first. codes: [texts of the corpus]"""
    rows = torch.as_tensor(dataset.rows)
    order = codes[rows].argsort(descending=True, stable=True)[:n].tolist()
    texts = dataset.corpus.texts
    return [TopText(float(codes[rows[i]]), bool(dataset.positive[i]), texts[int(rows[i])]) for i in order]
