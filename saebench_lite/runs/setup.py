"""From a configuration to jobs: models, data, tasks and subjects are loaded and checked, one model at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from saebench_lite import registry
from saebench_lite.api import registered
from saebench_lite.api.context import EvalContext
from saebench_lite.api.needs import check_needs
from saebench_lite.api.settings import make_config
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Task
from saebench_lite.bundled import sae_folders
from saebench_lite.data.names import told_apart
from saebench_lite.data.thinning import thinned
from saebench_lite.data.types import Data
from saebench_lite.errors import SaebenchError, contained
from saebench_lite.files import cache_root, digest
from saebench_lite.loading import open
from saebench_lite.loading import spec as spec_module
from saebench_lite.models.devices import described, resolved
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.models.protocol import Model
from saebench_lite.models.token_rule import TokenRule
from saebench_lite.names import PICO, PICO_HOOK, read_model_name
from saebench_lite.progress import NoProgress, Progress, logger
from saebench_lite.records.types import DataInfo
from saebench_lite.runs import forks, profiles
from saebench_lite.runs.config import RunConfig
from saebench_lite.runs.evaluate import Session
from saebench_lite.runs.job import Job
from saebench_lite.runs.live import Live
from saebench_lite.runs.live_checks import check_live
from saebench_lite.runs.named_saes import check_control_of, told_missing
from saebench_lite.runs.several_saes import each_sae
from saebench_lite.runs.sites import Site, mismatch, named_elsewhere, same_hook, share_out, split_spec
from saebench_lite.runs.subjects import subjects_of
from saebench_lite.saes.protocol import SAE

FIRST_SEED = 42
MOST_NOTES = 5
"Remarks on the data that a run tells at once; all are in its records."


def set_up(
    config: RunConfig, live: Live | None = None, progress: Progress | None = None, *, train: bool = True
) -> Iterator[list[Job]]:
    """Jobs of a run, one a site: those of one model at a time, so that no two models are in memory.

    Controls that have to be trained are, unless `train` is False, which is for planning.
    SaebenchError for what makes the whole run impossible.
    """
    live, progress = live or Live(), NoProgress() if progress is None else progress
    for module in config.plugins:
        registry.add_plugin(module)
    check_live(live, config)
    device = _device(config, live)
    names, settings = profiles.apply(config.profile, config.tasks, config.settings)
    _check_needs(names, settings, config.baselines or ())
    missing = told_missing(config.saes or ())
    data = live.data or load_data(config.data, config.limit)
    data = thinned(with_texts(data, config.text_data, config.limit), config.max_texts, config.context)
    for note in [*data.notes[:MOST_NOTES], *_how_many_more(len(data.notes) - MOST_NOTES)]:
        logger.info(note)
    shares = _shares(config, live)
    check_control_of(config.control_of, [share.saes for share in shares.values()])
    for model in config.models:
        lm = live.model or load_model(model, device, config.dtype, config.token_rule)
        tasks = _tasks(names, lm)
        task_configs = _task_configs(tasks, settings)
        hooks = _hooks([s.hook for s in shares if s.model == model], lm)
        jobs = []
        for hook in hooks:
            ctx = EvalContext(
                lm,
                hook,
                data,
                cache=config.cache or cache_root(),
                memory=None if config.memory is None else int(config.memory * 2**30),
                encode=config.encode_on(lm.device),
                progress=progress,
            )
            if finding := lm.positions(ctx.hook).finding:
                logger.info(finding)
            ctx.hooks_collected_together = tuple(h for h in hooks.values() if h != ctx.hook)
            session = Session(ctx, data_identity(data), config.out, config.force)
            subjects = _subjects(shares[Site(model, hook)], config, ctx, train, missing)
            seeds, processes = seed_list(config.seeds), _processes(config, live, lm.device)
            jobs.append(Job(session, tasks, task_configs, subjects, seeds, config.shard, processes))
        if model == config.models[0]:
            logger.info(f"device: {described(torch.device(device))}")
        yield jobs


def _how_many_more(notes: int) -> list[str]:
    return [f"{notes} more remarks on the data stand in the records"] if notes > 0 else []


def with_each_sae(config: RunConfig) -> RunConfig:
    """The configuration with a spec for each SAE in the place of patterns and folders (`several_saes.each_sae`)."""
    for module in config.plugins:
        registry.add_plugin(module)  # its loaders know folders of theirs
    return config if config.saes is None else dataclasses.replace(config, saes=tuple(each_sae(config.saes)))


def load_model(name: str, device: str, dtype: str, rule: TokenRule) -> Model:
    """A model by any name that a run takes (see `names.read_model_name`); SaebenchError if it cannot be had.

    Args:
        name: its name.
        device: where it goes; "auto": the first CUDA device, or the CPU.
        dtype: type of its numbers; a world's are float32.
        rule: what is put in front of texts and left out of statistics; a world has no sinks and ignores it.
    """
    parsed = read_model_name(name)
    if parsed.kind == "world":
        from saebench_lite.worlds.model import WorldModel

        return WorldModel.load(parsed.base, device=resolved(device))
    return LanguageModel.load(name, device=device, dtype=dtype, rule=rule)


def _device(config: RunConfig, live: Live) -> str:
    """The device of a run; that of a model given as an object is where it lies."""
    return resolved(config.device) if live.model is None else str(live.model.device)


def _processes(config: RunConfig, live: Live, device: torch.device) -> int:
    """How many processes a site's subjects are scored in at most: those asked for, or as many as torch has threads.

    One where the process cannot fork, and unasked where it was given objects, which may count what is asked of them.
    """
    if not forks.possible(device):
        return 1
    return config.jobs or (1 if live.names else torch.get_num_threads())


def _hooks(asked: Sequence[str], lm: Model) -> dict[str, str]:
    """The canonical name of each hook asked for; SaebenchError where two are one place."""
    names: dict[str, str] = {}
    for hook in asked:
        name = lm.hook_name(hook)
        if (other := next((h for h, n in names.items() if n == name), None)) is not None:
            raise SaebenchError(f"hooks {other!r} and {hook!r} are one place of {lm.name}, {name}; name it once")
        names[hook] = name
    return names


def seed_list(seeds: int | Sequence[int]) -> list[int]:
    """The seeds of a run; of a number n the first n, from 42 on, as in SAEBench and sae-probes."""
    return list(range(FIRST_SEED, FIRST_SEED + seeds)) if isinstance(seeds, int) else list(seeds)


def load_data(specs: Sequence[str], limit: int | None = None) -> Data:
    """Data of one or more `source[:where]` specs, put together."""
    parts = []
    for spec in specs:
        name, _, where = spec.partition(":")
        parts.append(registry.get("sources", name).load(where, limit))
    parts = told_apart(parts, specs)
    if len(parts) == 1:
        return parts[0]
    fields = ("datasets", "concepts", "texts", "parents", "notes")
    joined = {f: tuple(item for part in parts for item in getattr(part, f)) for f in fields}
    return Data(name="+".join(p.name for p in parts), **joined)


def with_texts(data: Data, specs: Sequence[str] | None, limit: int | None = None) -> Data:
    """Data whose texts for reconstruction and CE loss are those of other specs; as they are for None.

    SaebenchError for specs without texts.
    """
    if specs is None:
        return data
    other = load_data(specs, limit)
    if not other.texts:
        raise SaebenchError(f"text_data {', '.join(specs)} holds no texts for reconstruction; name another source")
    name = f"{data.name}, texts of {other.name}"
    return dataclasses.replace(data, name=name, texts=other.texts, notes=(*data.notes, *other.notes))


def data_identity(data: Data) -> DataInfo:
    """Name and digest of everything a task could read, in any order."""
    parts = [sorted(d.fingerprint + d.name for d in kind) for kind in (data.datasets, data.concepts)]
    parts.append(sorted(c.fingerprint for c in data.texts))
    if data.parents:
        parts.append(sorted(p.fingerprint for p in data.parents))
    counts = {"datasets": len(data.datasets), "concepts": len(data.concepts), "corpora": len(data.texts)}
    return DataInfo(name=data.name, digest=digest(parts), **counts)


def _tasks(names: Sequence[str] | None, lm: Model) -> dict[str, Task]:
    return {name: registry.get("tasks", name) for name in names or unasked_tasks(lm.planted)}


def _check_needs(
    tasks: Sequence[str] | None, settings: Mapping[str, Mapping[str, object]], baselines: Sequence[str]
) -> None:
    """SaebenchError for a name or setting that does not exist, or a package that is not installed, before any work.

    Args:
        tasks: names; None: the default ones, which need no more than the suite does unless `settings` say so.
        settings: of tasks.
        baselines: names.
    """
    for name in settings if tasks is None else tasks:
        task = registered.task(name)
        check_needs(f"task {name!r} under these settings", task.needs(make_config(task, settings.get(name, {}))))
    for name in baselines:
        check_needs(f"baseline {name!r}", registered.baseline(name).needs)


def unasked_tasks(planted: bool = False, *, said: bool = True) -> list[str]:
    """Tasks that a run includes unasked; one that is broken is left out, with a sentence if `said`.

    planted: whether the true features are known.
    """
    chosen = []
    for name in registry.names("tasks"):
        try:
            card = registered.task(name).card
        except SaebenchError as error:
            if said:
                logger.warning(f"{error}; it is left out")
            continue
        if card.default and (planted or not card.requires_ground_truth):
            chosen.append(name)
    return chosen


def _task_configs(tasks: Mapping[str, Task], settings: Mapping[str, Mapping[str, object]]) -> dict[str, Any]:
    configs = {name: make_config(task, settings.get(name, {})) for name, task in tasks.items()}
    if unknown := sorted(set(settings) - set(tasks)):
        raise SaebenchError(f"settings are given for {unknown[0]!r}, which is not among the tasks {', '.join(tasks)}")
    return configs


@dataclass(frozen=True)
class _Share:
    """SAEs of one site, as specs or live objects, and the names of those whose site was chosen by hand."""

    saes: Mapping[str, SAE] | Sequence[str]
    by_hand: frozenset[str]


def _shares(config: RunConfig, live: Live) -> dict[Site, _Share]:
    """The SAEs of each site."""
    sites = [Site(*pair) for pair in config.sites]
    if live.saes is not None:
        objects = live.saes
        named = share_out(list(objects), sites, lambda name: getattr(objects[name], "meta", None) or {})
        return {site: _Share({n: objects[n] for n in names}, frozenset()) for site, names in named.items()}
    specs = config.saes
    if specs is None:
        at_home = any(site.model == PICO and same_hook(site.hook, PICO_HOOK) for site in sites)
        specs = tuple(map(str, sae_folders())) if at_home else ()
    by_hand = frozenset(
        spec_module.parse(p.spec).name for p in map(split_spec, specs) if p.model is not None or p.hook is not None
    )
    return {site: _Share(placed, by_hand) for site, placed in share_out(specs, sites, _facts).items()}


def _facts(spec: str) -> Mapping[str, object] | None:
    """What an SAE says of itself; None where it cannot be read, which its record tells later."""
    try:
        with contained():
            meta = getattr(open.read(spec_module.parse(spec)), "meta", None)
    except Exception:  # noqa: BLE001  (foreign code and files raise anything)
        return None
    return meta if isinstance(meta, Mapping) else {}


def _subjects(
    share: _Share, config: RunConfig, ctx: EvalContext, train: bool, missing: Collection[str]
) -> list[Subject]:
    """Subjects of a site; SAEs that do not belong there fail, and no control is made out of them.

    Args:
        share: SAEs of the site.
        config: what is asked.
        ctx: the site.
        train: whether controls are trained that have to be.
        missing: names of SAEs that are known not to be there, of which the user was told.
    """
    site = Site(ctx.lm.name, ctx.hook)

    def refused(name: str, meta: Mapping[str, object]) -> str | None:
        if not (config.force_site or name in share.by_hand):
            return mismatch(meta, site)
        if (named := named_elsewhere(meta, site)) is not None:
            logger.warning(f"{name}: {named}; it is scored at {site.hook} of {site.model} all the same")
        return None

    return subjects_of(share.saes, config.baselines, config.control_of, ctx, refused, train=train, told=missing)
