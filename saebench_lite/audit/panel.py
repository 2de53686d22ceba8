"""The SAEs that metrics are tried on: seven architectures at five sparsities, and snapshots along three trainings."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.files import digest
from saebench_lite.loaders import matching_pursuit, native
from saebench_lite.progress import NoProgress, Progress
from saebench_lite.recipes.loop import train_sae
from saebench_lite.recipes.recipe import Architecture, SAERecipe
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.matching_pursuit import MatchingPursuitSAE
from saebench_lite.saes.protocol import SAE, HasMeta, meta_of
from saebench_lite.worlds import spec as specs
from saebench_lite.worlds.world import World

SPARSITIES = (0.45, 0.7, 1.0, 1.5, 2.2)
"L0 of the panel as multiples of the number of features that fire on average."
SNAPSHOTS = (0.0, 0.02, 0.06, 0.2, 0.5)
"Shares of the training after which a snapshot is kept; the trained SAE is the last."
KEPT = 2 << 30
"Bytes of training activations kept between SAEs."
FOLLOWED: tuple[Architecture, ...] = ("topk", "batchtopk", "matryoshka")
"Architectures whose middle SAE is followed through its training."


@dataclass(frozen=True, kw_only=True)
class PanelSpec:
    """What is trained, on which world."""

    world: str
    steps: int
    batch: int = 1024
    seed: int = 1

    def __post_init__(self) -> None:
        if self.steps < 50:
            raise SaebenchError(f"--steps {self.steps} is too short for snapshots along the training; 50 at least")

    def recipes(self) -> Iterator[tuple[str, SAERecipe]]:
        """(name, recipe) of each SAE; d_sae is a quarter of the features."""
        world = World(specs.parse(self.world))
        true_l0 = (world.features(8192, "true l0") > 0).sum(1).float().mean().item()
        for architecture in get_args(Architecture):
            for multiple in SPARSITIES:
                l0 = max(2, round(multiple * true_l0))
                recipe = SAERecipe(
                    architecture=architecture,
                    d_sae=world.spec.features // 4,
                    l0=l0,
                    steps=self.steps,
                    batch=self.batch,
                    seed=self.seed,
                    bf16=torch.cuda.is_available(),
                )
                yield f"{architecture}_l0_{l0}", recipe


def build(
    spec: PanelSpec, folder: Path, *, device: str = "cpu", jobs: int = 1, progress: Progress | None = None
) -> list[Path]:
    """Trains what is missing and returns the folders of all SAEs and snapshots, in a fixed order."""
    progress = NoProgress() if progress is None else progress
    todo = list(spec.recipes())
    middle = sorted({r.l0 for _, r in todo})[len(SPARSITIES) // 2]
    work = [(n, r, r.architecture in FOLLOWED and r.l0 == middle) for n, r in todo]
    missing = [w for w in work if not all(_made(p, w[1], spec) for p in _folders(folder, w))]
    done = len(work) - len(missing)
    progress.update("training the panel", done, len(work))
    if missing and jobs > 1 and device == "cpu":
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            for job in as_completed([pool.submit(_train, spec, folder, w, device, 1) for w in missing]):
                job.result()
                done += 1
                progress.update("training the panel", done, len(work))
    else:
        for w in missing:
            _train(spec, folder, w, device, None)
            done += 1
            progress.update("training the panel", done, len(work))
    return [p for w in work for p in _folders(folder, w)]


Work = tuple[str, SAERecipe, bool]


def _folders(folder: Path, work: Work) -> list[Path]:
    name, _, followed = work
    before = [folder / f"{name}@{share:g}" for share in SNAPSHOTS] if followed else []
    return [*before, folder / name]


def _identity(recipe: SAERecipe, spec: PanelSpec) -> str:
    return digest([recipe.facts(), repr(specs.parse(spec.world))])


def _made(path: Path, recipe: SAERecipe, spec: PanelSpec) -> bool:
    try:
        sae = load(path)
    except SaebenchError:
        return False
    return meta_of(sae).get("panel", {}).get("identity") == _identity(recipe, spec)


def load(path: Path) -> SAE:
    """An SAE of the panel."""
    module = native if native.recognise(path) else matching_pursuit
    return module.LOADER.load(path)


def _train(spec: PanelSpec, folder: Path, work: Work, device: str, threads: int | None) -> None:
    """One SAE with its snapshots; stream and snapshots depend on the spec alone."""
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)
    name, recipe, followed = work
    wanted = {round(share * recipe.steps): share for share in SNAPSHOTS} if followed else {}

    def facts(share: float) -> dict:
        role = {"of": name, "share": share, "architecture": recipe.architecture, "l0": recipe.l0}
        return {"panel": {**role, "identity": _identity(recipe, spec)}}

    def keep(step: int, export: Callable[[], SAE]) -> None:
        if step in wanted:
            sae = export()
            _save(sae, folder / f"{name}@{wanted[step]:g}", facts(wanted[step]))

    sae = train_sae(_stream(spec, device), recipe, device=device, on_step=keep)
    _save(sae, folder / name, facts(1.0))


@functools.lru_cache(maxsize=1)
def _stream(spec: PanelSpec, device: str) -> Callable[[int], Tensor]:
    """Batches by number, the same for every SAE; kept once drawn where all of them fit in KEPT bytes."""
    world = World(specs.parse(spec.world), device)

    def batch(step: int) -> Tensor:
        return world.sample(spec.batch, "panel", spec.seed, step)[0]

    if 4 * spec.steps * spec.batch * world.spec.d > KEPT:
        return batch
    return functools.lru_cache(maxsize=None)(batch)


def _save(sae: SAE, path: Path, facts: Mapping) -> None:
    assert isinstance(sae, HasMeta)
    sae.meta = {**sae.meta, **facts}
    if isinstance(sae, AffineSAE):
        native.save(sae, path)
    else:
        assert isinstance(sae, MatchingPursuitSAE)
        matching_pursuit.save(sae, path)
