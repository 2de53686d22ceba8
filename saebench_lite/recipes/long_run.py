"""SAEs trained side by side on one stream of activations, which goes on after an interruption where it stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.files import atomic_path, digest
from saebench_lite.models.protocol import Model
from saebench_lite.recipes.loop import Training, held_out_figures
from saebench_lite.recipes.recipe import SAERecipe
from saebench_lite.recipes.text_stream import Place, TextStream
from saebench_lite.recipes.trainer import SAMPLE_ROWS, TrainedSAE
from saebench_lite.recipes.trainers import trainer_for

CHECKPOINT = "training.safetensors"
SAVE_SECONDS = 120.0
"How much work an interruption may cost."


def train_on_texts(
    lm: Model,
    hook: str,
    texts: Sequence[str],
    recipes: Mapping[str, SAERecipe],
    folder: Path,
    *,
    device: str = "cpu",
    on_step: Callable[[int, int], None] | None = None,
) -> dict[str, TrainedSAE]:
    """One SAE a recipe, trained on the same batches; a checkpoint in `folder` is continued.

    The checkpoint of the last step stays until `discard`, to be called once the SAEs are written. An interrupted and
    continued training gives the same bits as one that ran through. Each SAE (on the CPU) carries in
    its meta the model, the hook, the rule of the tokens, its recipe, seconds (of all together) and figures on rows
    after the last step.

    Args:
        lm: the model.
        hook: where its activations are read.
        texts: to train on; read as often as the steps need.
        recipes: by name; steps and batch must be the same in all.
        folder: for the checkpoint, written every two minutes, on Ctrl-C and at the end.
        device: where the SAEs are trained.
        on_step: called with the steps done and all steps.

    Raises:
        SaebenchError: recipes of other steps or batches, a checkpoint of another training, too few texts.
    """
    steps, batch = _shared(recipes)
    facts = {"model": lm.name, "hook": lm.hook_name(hook), "token_rule": lm.positions(hook).code}
    asked = {**facts, "texts": digest(list(texts)), "recipes": {n: r.facts() for n, r in recipes.items()}}
    stream = TextStream(lm, hook, texts, batch=batch)
    sample = torch.cat(_some_rows(stream.batches()))
    trainings = {name: Training(trainer_for(recipe, sample, device)) for name, recipe in recipes.items()}
    place, done, seconds = _resumed(folder / CHECKPOINT, trainings, asked)
    started = saved = time.monotonic()
    batches = stream.batches(place)

    def save() -> None:
        _save(folder / CHECKPOINT, trainings, place, asked, seconds + time.monotonic() - started)

    try:
        with torch.enable_grad():
            for step in range(done, steps):
                x, place = next(batches)
                for training in trainings.values():
                    training.take(x)
                if on_step is not None:
                    on_step(step + 1, steps)
                if time.monotonic() - saved > SAVE_SECONDS:
                    save()
                    saved = time.monotonic()
    finally:  # an error keeps what was done too
        save()
    held_out = torch.cat(_some_rows(batches))
    out = {}
    for name, training in trainings.items():
        recipe = training.trainer.recipe
        meta = {**facts, "architecture": recipe.architecture, "recipe": recipe.facts()}
        sae = training.trainer.export({**meta, "training_tokens": steps * batch, "texts": len(stream.texts)})
        sae.meta["held_out"] = held_out_figures(sae, held_out.to("cpu"))
        sae.meta["seconds"] = round(seconds + time.monotonic() - started)
        out[name] = sae
    return out


def discard(folder: Path) -> None:
    """Deletes a training's checkpoint."""
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _shared(recipes: Mapping[str, SAERecipe]) -> tuple[int, int]:
    """(steps, batch) of all recipes."""
    shapes = {(r.steps, r.batch) for r in recipes.values()}
    if len(shapes) != 1:
        raise SaebenchError(f"SAEs on one stream need one number of steps and one batch, not {sorted(shapes)}")
    return shapes.pop()


def _some_rows(batches: Iterator[tuple[Tensor, Place]]) -> list[Tensor]:
    """The next batches until they hold SAMPLE_ROWS rows."""
    taken: list[Tensor] = []
    while sum(map(len, taken)) < SAMPLE_ROWS:
        taken.append(next(batches)[0])
    return taken


def _save(
    path: Path, trainings: Mapping[str, Training], place: Place | None, asked: dict[str, Any], seconds: float
) -> None:
    """Writes all states to one file, whole or not at all.

    Args:
        path: the file.
        trainings: by name.
        place: of the stream, after the last batch taken.
        asked: what identifies the training.
        seconds: that it took so far.
    """
    from safetensors.torch import save_file

    tensors = {
        f"{name}/{key}": t.detach().cpu().contiguous().clone()
        for name, training in trainings.items()
        for key, t in training.state().items()
    }
    told = {"place": asdict(place or Place()), "asked": asked, "seconds": seconds}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        save_file(tensors, partial, {"saebench-lite": json.dumps(told)})


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of a checkpoint; SaebenchError for a damaged one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            told = json.loads((file.metadata() or {}).get("saebench-lite", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, told  # noqa: SIM118 - not a dict
    except (SafetensorError, ValueError) as error:
        raise SaebenchError(f"{path} is no whole checkpoint ({error}); delete it to begin again") from None


def _resumed(path: Path, trainings: Mapping[str, Training], asked: dict[str, Any]) -> tuple[Place | None, int, float]:
    """(place of the stream, steps done, seconds) of the checkpoint, into which the trainings are put; else a start."""
    if not path.is_file():
        return None, 0, 0.0
    tensors, told = _read(path)
    earlier, now = told.get("asked") or {}, json.loads(json.dumps(asked))
    if odd := [key for key in now if earlier.get(key) != now[key]]:
        raise SaebenchError(f"{path} is of a training with other {odd[0]}; give the same options, or another folder")
    for name, training in trainings.items():
        training.restore({k.partition("/")[2]: t for k, t in tensors.items() if k.startswith(f"{name}/")})
    done = {training.step for training in trainings.values()}
    return Place(**told["place"]), done.pop(), float(told["seconds"])
