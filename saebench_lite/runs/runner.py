"""Runs subjects through tasks and keeps a record of each; what exists is read, what fails does not stop the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import chain, count
from pathlib import Path
from typing import Any

from saebench_lite.activations.cache_size import LIMIT, amount, cache_limit, shrink_cache
from saebench_lite.api.baseline import Baseline
from saebench_lite.api.task import Task
from saebench_lite.data.types import Data
from saebench_lite.errors import SaebenchError
from saebench_lite.files import cache_root, write_text
from saebench_lite.models.protocol import Model
from saebench_lite.names import AUTO_DEVICE, PICO
from saebench_lite.progress import NoProgress, Progress, logger, shown
from saebench_lite.records.record import Record
from saebench_lite.runs import local_engine, process_engine, ray_engine
from saebench_lite.runs.config import MOST_MEMORY, Dtype, EncodeChoice, Engine, RunConfig
from saebench_lite.runs.config_checks import above_zero
from saebench_lite.runs.live import Live, SAEs, split_baselines, split_model, split_saes, split_tasks
from saebench_lite.runs.machine import check_machine
from saebench_lite.runs.provenance import environment
from saebench_lite.runs.setup import with_each_sae
from saebench_lite.runs.sharding import Shard

CONFIG_FILE = "run.yaml"
"Beside the records: the configuration that repeats the run; run-2.yaml, ... where other runs wrote into the folder."


def run(
    saes: SAEs = None,
    *,
    model: str | Model | Sequence[str] = PICO,
    hook: str | Sequence[str] = (),
    data: str | Data | Sequence[str] = "bundled",
    text_data: str | Sequence[str] | None = None,
    tasks: str | Task | Sequence[str | Task] | None = None,
    baselines: str | Baseline | Sequence[str | Baseline] | None = None,
    control_of: str | Sequence[str] | None = None,
    seeds: int | Sequence[int] = 3,
    out: str | Path | None = None,
    device: str = AUTO_DEVICE,
    devices: str | Sequence[str] = (),
    dtype: Dtype = "float32",
    encode: EncodeChoice = "auto",
    bos: str = "auto",
    leave_out: str = "sinks",
    limit: int | None = None,
    max_texts: int | None = None,
    context: int | None = None,
    settings: Mapping[str, Mapping[str, object]] | None = None,
    profile: str | None = None,
    cache: str | Path | None = None,
    memory: int | None = None,
    force: bool = False,
    shard: Shard | None = None,
    engine: Engine = "local",
    workers: int | None = None,
    jobs: int | None = None,
    plugins: Sequence[str] = (),
    force_site: bool = False,
    progress: Progress | bool = True,
) -> list[Record]:
    """Scores SAEs, baselines and controls at one or more sites; returns one record for each pair that applies.

    long: one argument a field.

    Args:
        saes: An SAE, several (called by their `name` or class), or name -> SAE; or specs (`name=loader:where`, with
            `#hook=H` where an SAE's site must be told). By default the bundled SAEs, if their site is run; none: `[]`.
        model: One or more names, or a loaded model; by default the bundled one.
        hook: One or more hook points, each read in every model; only `pico` and worlds have one by default.
        data: One or more `source[:where]` specs, or loaded data.
        text_data: Specs of the texts for reconstruction and CE loss, where they are not to be those of `data`.
        tasks: Names (also "a,b") or `Task` objects; by default all that the site allows and that train nothing.
        baselines: Names or `Baseline` objects; the same default; none: `[]` or "none".
        control_of: SAEs from which derived controls are made (`"all"`: each; default: that of median L0, and a
            random one for each size).
        seeds: How often each evaluation is repeated, or the seeds themselves.
        device: Where the model and the SAEs are; by default the first CUDA device, or the CPU.
        devices: In the place of `device`: "0,1" for two GPUs, a process on each, SAEs given by name.
        dtype: Of the model.
        encode: How SAEs are encoded: "float32", "tf32x3" or "bf16"; by default "tf32x3" on a GPU, else "float32".
        bos: What each text begins with: "auto", "prepend", "as-is", "none", or a token of the vocabulary.
        leave_out: Tokens that no statistic reads beside special ones: "sinks", "first" or "special".
        limit: Data sets per source at most.
        max_texts: Texts of a corpus at most, drawn evenly from its classes and parts.
        context: Tokens of a text at most, where data and model allow more.
        settings: {task: {field: value}}.
        profile: Another benchmark's settings and tasks (see `profiles`), under `settings`.
        out: A results folder; records there are not computed again (failed ones are, `force` repeats all). A run from
            specs alone leaves `run.yaml` in it, which repeats the run (`run-2.yaml`, ... after other runs).
        cache: Folder of cached activations; by default the user's.
        memory: Bytes for pooled tables; by default 1 GiB, on a GPU three tenths of its memory.
        force: Whether to compute again what exists.
        shard: Only this share of the pairs.
        engine: "ray" spreads the work over `workers` Ray workers; SAEs, model and data are then given by name.
        workers: Ray workers; two by default.
        jobs: Processes of one thread that score subjects side by side on a CPU under Linux; by default as many as torch
            has threads where SAEs, model and data are given by name.
        plugins: Importable modules with TASKS, BASELINES, LOADERS or SOURCES.
        force_site: Whether to score SAEs whose metadata name another site.
        progress: Whether a bar shows on a terminal or in a notebook how far the run has come, or what receives it.
            Sentences go to the logger "saebench_lite".

    Raises:
        SaebenchError: Input that makes the whole run impossible; a failing subject only yields failed records.
    """
    objects, specs = split_saes(saes)
    loaded, models = split_model(model)
    task_names, own_tasks = split_tasks(tasks)
    baseline_names, own_baselines = split_baselines(baselines)
    live = Live(
        saes=objects,
        model=loaded,
        data=data if isinstance(data, Data) else None,
        tasks=own_tasks,
        baselines=own_baselines,
    )
    fields: dict[str, Any] = {  # as they came: the configuration checks and converts them
        "saes": specs if objects is None else (),
        "models": models,
        "hooks": hook,
        "data": data.name if isinstance(data, Data) else data,
        "text_data": text_data,
        "tasks": task_names,
        "baselines": baseline_names,
        "control_of": control_of,
        "seeds": seeds,
        "settings": {} if settings is None else settings,
        "profile": profile,
        "device": device,
        "devices": devices,
        "dtype": dtype,
        "encode": encode,
        "bos": bos,
        "leave_out": leave_out,
        "memory": None if memory is None else above_zero("memory", memory, MOST_MEMORY * 2**30, "bytes") / 2**30,
        "limit": limit,
        "max_texts": max_texts,
        "context": context,
        "out": out,
        "cache": cache,
        "force": force,
        "shard": shard,
        "engine": engine,
        "workers": workers,
        "jobs": jobs,
        "plugins": plugins,
        "force_site": force_site,
    }
    config = RunConfig(**fields)
    with shown() if progress is True else nullcontext(progress or NoProgress()) as following:
        return execute(config, live, following)


def execute(
    config: RunConfig,
    live: Live | None = None,
    progress: Progress | None = None,
    seen: Callable[[Sequence[Record]], None] | None = None,
) -> list[Record]:
    """The records of a run; see `run`. Its configuration is written beside them once there is one.

    SaebenchError where there is none, of a share apart.

    Args:
        config: what is asked.
        live: objects in the place of names.
        progress: receives how far the run has come.
        seen: is called with all records so far after each.
    """
    live, progress = live or Live(), NoProgress() if progress is None else progress
    limit, started = cache_limit(), time.time()
    environment()  # the commit that was loaded, before the checkout moves on during a long run
    check_machine(config, make=True)
    records: list[Record] = []
    try:
        with live.registered():
            config = with_each_sae(config)
            for record in _engine(config, live, progress):
                if not records and config.out is not None and not live.names:
                    _write_config(config, config.out)
                records.append(record)
                if seen is not None:
                    seen(records)
    finally:
        if limit is not None:
            _shrink(config.cache or cache_root(), limit, started)
    if not records and config.shard is None:
        raise SaebenchError("there is nothing to score: no task takes an SAE or baseline of this run; name others")
    return records


def _shrink(cache: Path, limit: int, started: float) -> None:
    """Brings the cache below its limit; entries of the run that `started` then stay, a later run may drop them."""
    if gone := shrink_cache(cache, limit, used_before=started):
        logger.info(
            f"cache: deleted {amount(gone)}, used least recently, to keep {limit / 2**30:g} GiB ({LIMIT}) of what is"
            " made again"
        )


def _write_config(config: RunConfig, folder: Path) -> None:
    """Writes the configuration under the first name that no other run's has; nothing if the folder has it already."""
    text, stem = config.to_yaml(), Path(CONFIG_FILE).stem
    for name in chain([CONFIG_FILE], (f"{stem}-{i}.yaml" for i in count(2))):
        path = folder / name
        if not path.exists():
            write_text(path, text)
            return
        if path.read_text(encoding="utf-8") == text:
            return


def _engine(config: RunConfig, live: Live, progress: Progress) -> Iterator[Record]:
    if config.engine == "ray":
        return ray_engine.run(config, live, progress)
    if config.devices:
        return process_engine.run(config, live, progress)
    return local_engine.run(config, live, progress)
