"""The SAEs that metrics are tried on: six architectures at three L0 levels, and snapshots along three trainings."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

from saebench_lite.api.context import default_memory
from saebench_lite.errors import SaebenchError
from saebench_lite.files import digest
from saebench_lite.loaders import matching_pursuit, native, top_afa
from saebench_lite.progress import NoProgress, Progress
from saebench_lite.recipes.loop import train_sae
from saebench_lite.recipes.recipe import Architecture, Frozen, SAERecipe
from saebench_lite.recipes.train_sae import save
from saebench_lite.recipes.trainer import TrainedSAE
from saebench_lite.saes.protocol import SAE, meta_of
from saebench_lite.worlds import spec as specs
from saebench_lite.worlds.world import World

STORED_BYTES = 2 << 30
"Training activations that stay in memory between SAEs, at most."
ARCHITECTURES: tuple[Architecture, ...] = (
    "relu",
    "topk",
    "batchtopk",
    "jumprelu",
    "gated",
    "matryoshka",
)
"Matching pursuit takes as long to train and to encode as all others together."
FOLLOWED: tuple[Architecture, ...] = ("topk", "batchtopk", "matryoshka")
"Architectures whose middle SAE is followed through its training."


@dataclass(frozen=True, kw_only=True)
class PanelSpec:
    """What is trained, on which world."""

    world: str
    steps: int
    batch: int = 1024
    seed: int = 1
    architectures: tuple[Architecture, ...] = ARCHITECTURES
    sparsities: tuple[float, ...] = (0.5, 1.0, 2.0)
    "L0 as multiples of the number of features that fire on average."
    snapshots: tuple[float, ...] = (0.0, 0.05, 0.25)
    "Shares of the training after which a snapshot is saved; the trained SAE is the last."
    frozen: Frozen = "none"
    "The part of each SAE that is left at random; it stands in the SAEs' names."
    bf16: bool = False
    "Whether training multiplies matrices in bfloat16 on a CPU too; on a GPU it does."

    def __post_init__(self) -> None:
        if self.steps < 50:
            raise SaebenchError(f"--steps {self.steps} is too short for snapshots along the training; 50 at least")

    def recipes(self) -> Iterator[tuple[str, SAERecipe]]:
        """(name, recipe) of each SAE; d_sae is a quarter of the features."""
        world = World.named(self.world)
        true_l0 = (world.features(8192, "true l0") > 0).sum(1).float().mean().item()
        levels = dict.fromkeys(max(2, round(multiple * true_l0)) for multiple in self.sparsities)
        for architecture in self.architectures:
            for l0 in levels:
                recipe = SAERecipe(
                    architecture=architecture,
                    d_sae=world.spec.features // 4,
                    l0=l0,
                    steps=self.steps,
                    batch=self.batch,
                    frozen=self.frozen,
                    seed=self.seed,
                    bf16=self.bf16 or torch.cuda.is_available(),
                )
                part = "" if self.frozen == "none" else f"_{self.frozen}"
                yield f"{architecture}_l0_{l0}{part}", recipe


def build(
    spec: PanelSpec, folder: Path, *, device: str = "cpu", jobs: int = 1, progress: Progress | None = None
) -> list[Path]:
    """Trains what is missing and returns the folders of all SAEs and snapshots, in a fixed order.

    Args:
        spec: what is trained.
        folder: where SAEs are saved.
        device: where they are trained.
        jobs: processes of one thread each (CPU only).
        progress: receives how many are trained.
    """
    progress = NoProgress() if progress is None else progress
    todo = list(spec.recipes())
    levels = sorted({r.l0 for _, r in todo})
    middle = levels[len(levels) // 2]
    work = [(n, r, r.architecture in FOLLOWED and r.l0 == middle) for n, r in todo]
    missing = [w for w in work if not all(_made(p, w[1], spec) for p in _folders(folder, w, spec))]
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
    return [p for w in work for p in _folders(folder, w, spec)]


Work = tuple[str, SAERecipe, bool]


def _folders(folder: Path, work: Work, spec: PanelSpec) -> list[Path]:
    name, _, followed = work
    before = [folder / f"{name}@{share:g}" for share in spec.snapshots] if followed else []
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
    module = next((m for m in (native, top_afa) if m.recognise(path)), matching_pursuit)
    return module.LOADER.load(path)


def _train(spec: PanelSpec, folder: Path, work: Work, device: str, threads: int | None) -> None:
    """One SAE with its snapshots; stream and snapshots depend on the spec alone."""
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)
    name, recipe, followed = work
    share_at = {round(share * recipe.steps): share for share in spec.snapshots} if followed else {}

    def facts(share: float) -> dict[str, object]:
        role = {"of": name, "share": share, "architecture": recipe.architecture, "l0": recipe.l0}
        return {"panel": {**role, "identity": _identity(recipe, spec)}}

    def keep(step: int, export: Callable[[], TrainedSAE]) -> None:
        if step in share_at:
            sae = export()
            _save(sae, folder / f"{name}@{share_at[step]:g}", facts(share_at[step]))

    sae = train_sae(_stream(spec, device), recipe, device=device, on_step=keep)
    _save(sae, folder / name, facts(1.0))


@functools.lru_cache(maxsize=1)
def _stream(spec: PanelSpec, device: str) -> Callable[[int], Tensor]:
    """Batches by number, the same for every SAE; stored once drawn where all of them fit in STORED_BYTES bytes."""
    world = World(specs.parse(spec.world), device)

    def batch(step: int) -> Tensor:
        return world.sample(spec.batch, "panel", spec.seed, step)[0]

    most = STORED_BYTES if device == "cpu" else default_memory(torch.device(device)) // 4
    if 4 * spec.steps * spec.batch * world.spec.d > most:
        return batch
    return functools.lru_cache(maxsize=None)(batch)


def _save(sae: TrainedSAE, path: Path, facts: Mapping[str, object]) -> None:
    sae.meta = {**sae.meta, **facts}
    save(sae, path, "float32")
