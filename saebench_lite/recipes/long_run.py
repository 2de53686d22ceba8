"""SAEs trained side by side on one stream of activations, which goes on after an interruption where it stopped."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from saebench_lite.recipes.spliced import Spliced, SplicedStream
from saebench_lite.recipes.text_stream import Place, TextStream
from saebench_lite.recipes.trainer import SAMPLE_ROWS, TrainedSAE
from saebench_lite.recipes.trainers import trainer_for

CHECKPOINT = "training.safetensors"
SAVE_SECONDS = 120.0
"How much work an interruption may cost."
Stream = TextStream | SplicedStream
Batch = Tensor | Spliced
"Rows [b, d] alone, or texts whose activations may be replaced in the model."


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
    after the last step. Where recipes say `end_to_end`, batches are whole texts of at most `batch` padded tokens, and
    the model is run on from each SAE's reconstruction.

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
    steps, batch, end_to_end = _shared(recipes)
    facts = {"model": lm.name, "hook": lm.hook_name(hook), "token_rule": lm.positions(hook).code}
    asked = {**facts, "texts": digest(list(texts)), "recipes": {n: r.facts() for n, r in recipes.items()}}
    stream = (SplicedStream if end_to_end else TextStream)(lm, hook, texts, batch=batch)
    sample = torch.cat(_some_rows(stream.batches()))
    trainings = {name: Training(trainer_for(recipe, sample, device)) for name, recipe in recipes.items()}
    run = _LongRun(folder / CHECKPOINT, trainings, stream, asked)
    run.resume()
    batches = run.take_steps(steps, on_step)
    held_out = torch.cat(_some_rows(batches)).to("cpu")
    out = {}
    for name, training in trainings.items():
        recipe = training.trainer.recipe
        meta = {**facts, "architecture": recipe.architecture, "recipe": recipe.facts()}
        sae = training.trainer.export({**meta, "training_tokens": run.tokens, "texts": len(stream.texts)})
        sae.meta["held_out"] = held_out_figures(sae, held_out)
        sae.meta["training_curve"] = training.curve()
        sae.meta["seconds"] = round(run.seconds())
        out[name] = sae
    return out


def discard(folder: Path) -> None:
    """Deletes a training's checkpoint."""
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _shared(recipes: Mapping[str, SAERecipe]) -> tuple[int, int, bool]:
    """(steps, batch, whether end to end) of all recipes."""
    shapes = {(r.steps, r.batch, r.end_to_end) for r in recipes.values()}
    if len(shapes) != 1:
        raise SaebenchError(f"SAEs on one stream need one number of steps and one batch, not {sorted(shapes)}")
    return shapes.pop()


def _some_rows(batches: Iterator[tuple[Batch, Place]]) -> list[Tensor]:
    """The next batches until they hold SAMPLE_ROWS rows."""
    taken: list[Tensor] = []
    while sum(map(len, taken)) < SAMPLE_ROWS:
        taken.append(_parts(next(batches)[0])[0])
    return taken


def _parts(batch: Batch) -> tuple[Tensor, Callable[[Tensor], Tensor] | None]:
    """Rows [n, d] of a batch, and the divergence that reconstructions of them cause where it knows the model."""
    return (batch.x, batch.divergence) if isinstance(batch, Spliced) else (batch, None)


class _LongRun:
    """Trainings on a stream, and the checkpoint they go on from."""

    def __init__(
        self,
        path: Path,
        trainings: Mapping[str, Training],
        stream: TextStream | SplicedStream,
        asked: dict[str, object],
    ) -> None:
        """A run before its first step.

        Args:
            path: the checkpoint.
            trainings: by name.
            stream: of batches.
            asked: what identifies the training.
        """
        self.path, self.trainings, self.stream = path, trainings, stream
        self.asked = json.loads(json.dumps(asked))
        self.place, self.step, self.before, self.started = Place(), 0, 0.0, time.monotonic()
        self.tokens = 0

    def seconds(self) -> float:
        """What it took so far, interruptions apart."""
        return self.before + time.monotonic() - self.started

    def take_steps(self, steps: int, on_step: Callable[[int, int], None] | None) -> Iterator[tuple[Batch, Place]]:
        """Trains up to a number of steps and saves; the rest of the stream."""
        batches, saved = self.stream.batches(self.place), time.monotonic()
        with torch.enable_grad(), _interrupts_between_steps() as asked_to_stop:
            while self.step < steps:
                batch, place = next(batches)
                x, divergence = _parts(batch)
                for training in self.trainings.values():
                    training.take(x, divergence)
                self.place, self.step, self.tokens = place, self.step + 1, self.tokens + len(x)
                if asked_to_stop():
                    self.save()
                    raise KeyboardInterrupt
                if time.monotonic() - saved > SAVE_SECONDS:
                    self.save()
                    saved = time.monotonic()
                if on_step is not None:
                    on_step(self.step, steps)
        self.save()
        return batches

    def save(self) -> None:
        """Writes all states to the checkpoint, whole or not at all."""
        from safetensors.torch import save_file

        tensors = {
            f"{name}/{key}": t.detach().cpu().contiguous().clone()
            for name, training in self.trainings.items()
            for key, t in training.state().items()
        }
        told = {"place": asdict(self.place), "asked": self.asked, "seconds": self.seconds(), "tokens": self.tokens}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.path) as partial:
            save_file(tensors, partial, {"saebench-lite": json.dumps(told)})

    def resume(self) -> None:
        """Goes to the checkpoint, where there is one; SaebenchError for one of another training."""
        if not self.path.is_file():
            return
        tensors, told = _read(self.path)
        earlier = told.get("asked") or {}
        if odd := [key for key, value in self.asked.items() if earlier.get(key) != value]:
            raise SaebenchError(
                f"{self.path} is of a training with other {odd[0]}; give the same options, or another folder"
            )
        for name, training in self.trainings.items():
            training.restore({k.partition("/")[2]: t for k, t in tensors.items() if k.startswith(f"{name}/")})
            self.step = training.step
        self.place, self.before = Place(**told["place"]), float(told["seconds"])
        self.tokens = int(told["tokens"])


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of a checkpoint; SaebenchError for a damaged one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            told = json.loads((file.metadata() or {}).get("saebench-lite", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, told  # noqa: SIM118 - not a dict
    except (SafetensorError, ValueError) as error:
        raise SaebenchError(f"{path} is no whole checkpoint ({error}); delete it to begin again") from None


@contextmanager
def _interrupts_between_steps() -> Iterator[Callable[[], bool]]:
    """Within it Ctrl-C only sets what the yielded function tells, so that no step is left half done."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only there can signals be caught
        yield lambda: False
        return
    former = signal.signal(signal.SIGINT, lambda number, _: asked.append(number))
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, former)
