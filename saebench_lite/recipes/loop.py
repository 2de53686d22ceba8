"""Training loop of small, correct SAEs: nine architectures, all or part of the weights trained, equal sparsity.

`recipe.py` has the choices, `trainers.py` and what it lists the losses, `frozen.py` the controls. Adam, linear warm-up
of the learning rate over 100 steps and linear decay at the end, gradient norm clipped at sqrt(d).
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.metrics.reconstruction import reconstruction_figures
from saebench_lite.recipes.recipe import SAERecipe
from saebench_lite.recipes.trainer import SAMPLE_ROWS, TrainedSAE, Trainer
from saebench_lite.recipes.trainers import trainer_for
from saebench_lite.recipes.training_curve import curve_steps, training_curve
from saebench_lite.saes.protocol import reconstruct

Stream = Callable[[int], Tensor] | Iterable[Tensor]
"Batches [b, d]: a function of the batch's number (0, 1, ...), called once for each in order, or an iterable."


OnStep = Callable[[int, Callable[[], TrainedSAE]], None]
"(steps done, export) -> None, before the first step and after every step; export() gives the SAE of that moment."


@torch.no_grad()
def held_out_figures(sae: TrainedSAE, x: Tensor) -> dict[str, float]:
    """L0, explained variance (centred) and dead fraction on held-out rows x [n, d]."""
    coded = ((part, sae.encode(part)) for part in x.float().split(4096))
    return reconstruction_figures(((part, reconstruct(sae, part, f), f) for part, f in coded), x.double().mean(0))


def train_sae(
    acts: Tensor | Stream,
    recipe: SAERecipe,
    *,
    device: str = "cpu",
    meta: Mapping[str, object] | None = None,
    on_step: OnStep | None = None,
) -> TrainedSAE:
    """An SAE trained on activations.

    Args:
        acts: rows [n, d] of any float dtype, or a stream of batches [b, d], one a step.
        recipe: architecture, size, sparsity and optimiser.
        device: where it is trained.
        meta: facts stored in the SAE's meta.
        on_step: called before the first step and after each step, for snapshots.

    Of a tensor the last 2 % (at most 50,000) rows are held out. A stream's first SAMPLE_ROWS rows fix the input
    scale and are trained on as well; the SAMPLE_ROWS rows after the last step are held out, if it has any. The returned
    SAE (on the CPU) carries in its meta the recipe, the figures on the held-out rows, the seconds it took, and under
    `training_curve` the explained variance, L0 and share of dead latents of some batches before they were trained on.
    SaebenchError for a tensor of fewer than 50 rows, a stream that ends early, or a batch of the wrong shape.
    """
    started = time.time()
    if recipe.end_to_end:
        raise SaebenchError("activations alone cannot train end to end; use train_on_texts, which has the model")
    if isinstance(acts, Tensor):
        train, test = _split(acts)
        sample, batches = train, _shuffled(train, recipe)
    else:
        sample, batches = _peek(acts)
        test = None
    trainer = trainer_for(recipe, sample, device)
    facts: dict[str, object] = {**(meta or {}), "architecture": recipe.architecture, "recipe": recipe.facts()}
    with torch.enable_grad():  # a control is made where gradients are off
        facts["training_curve"] = _fit(trainer, batches, facts, on_step)
    sae = trainer.export(facts)
    test = _rows(batches) if test is None else test
    if len(test):
        sae.meta["held_out"] = held_out_figures(sae.to(test.device), test)
    sae.meta["seconds"] = round(time.time() - started)
    return sae


class Training:
    """A trainer and its optimiser between two steps, with the training curve so far."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.step = trainer, 0
        self.optimizer = torch.optim.Adam(trainer.trained, lr=trainer.recipe.lr, betas=(0.9, 0.999))
        self.marks, self.figures = curve_steps(trainer.recipe.steps), torch.empty(0, 3)

    def take(self, x: Tensor, divergence: Callable[[Tensor], Tensor] | None = None) -> None:
        """One step on a batch x [b, d]; `divergence` as `Trainer.loss` takes it.

        SaebenchError for a batch of another shape.
        """
        trainer, recipe = self.trainer, self.trainer.recipe
        d = trainer.p["b_dec"].shape[0]
        if x.ndim != 2 or x.shape[1] != d or not len(x):
            raise SaebenchError(f"batch {self.step} of the stream has shape {list(x.shape)} where [b, {d}] is needed")
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, recipe)
        x = x.to(trainer.device, torch.float32) * trainer.scale
        if self.step in self.marks:  # in a context of its own: autocast may keep what it casts here, without gradients
            with torch.autocast(trainer.device.type, torch.bfloat16, enabled=recipe.bf16):
                self.figures = torch.cat([self.figures, trainer.figures(x)[None].cpu()])
        with torch.autocast(trainer.device.type, torch.bfloat16, enabled=recipe.bf16):
            loss = trainer.loss(x, self.step, divergence)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainer.trained, 1.0 * math.sqrt(d))
        self.optimizer.step()
        trainer.after_step()
        self.step += 1

    def curve(self) -> dict[str, list[float | int | None]]:
        """The training curve: figures of some batches before they were trained on."""
        return training_curve(self.marks[: len(self.figures)], list(self.figures))

    def state(self) -> dict[str, Tensor]:
        """All that a later `restore` needs, by name; the trainer's own tensors, not copies."""
        own = {f"own.{name}": t for name, t in vars(self.trainer).items() if isinstance(t, Tensor)}
        parameters = {f"p.{name}": t.detach() for name, t in self.trainer.p.items()}
        moments = {
            f"adam.{name}.{key}": value
            for name, t in self.trainer.p.items()
            for key, value in self.optimizer.state.get(t, {}).items()
        }
        return own | parameters | moments | {"step": torch.tensor(self.step), "figures": self.figures}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Goes back to a state of a training of the same recipe on the same activations."""
        self.step, self.figures = int(state["step"]), state["figures"]
        for name, t in state.items():
            kind, _, rest = name.partition(".")
            if kind == "p":
                self.trainer.p[rest].copy_(t)
            elif kind == "own":
                setattr(self.trainer, rest, t.to(self.trainer.device))
            elif kind == "adam":
                parameter, _, key = rest.rpartition(".")
                where = "cpu" if key == "step" else self.trainer.device  # where Adam keeps it
                self.optimizer.state[self.trainer.p[parameter]][key] = t.to(where)


def _fit(
    trainer: Trainer, batches: Iterator[Tensor], facts: dict[str, object], on_step: OnStep | None
) -> dict[str, list[float | int | None]]:
    """Takes the recipe's steps; returns the training curve.

    Args:
        trainer: before its first step.
        batches: rows [b, d], one batch a step.
        facts: for the meta of snapshots.
        on_step: as `train_sae` takes it.
    """
    steps, training = trainer.recipe.steps, Training(trainer)
    for step in range(steps):
        if on_step is not None:
            on_step(step, lambda step=step: trainer.export({**facts, "step": step}))
        x = next(batches, None)
        if x is None:
            raise SaebenchError(f"the stream of activations ended after {step} of {steps} steps; lower steps")
        training.take(x)
    if on_step is not None:
        on_step(steps, lambda: trainer.export({**facts, "step": steps}))
    return training.curve()


def learning_rate(step: int, recipe: SAERecipe) -> float:
    """Linear warm-up over 100 steps, then constant, then linear to zero over the last `decay` of the steps."""
    left = (recipe.steps - step) / (recipe.decay * recipe.steps) if recipe.decay else 1.0
    return recipe.lr * min(1.0, (step + 1) / 100, left)


def _split(acts: Tensor) -> tuple[Tensor, Tensor]:
    """Rows to train on and rows held out."""
    if acts.ndim != 2 or len(acts) < 50:
        raise SaebenchError(f"activations to train on must be [n >= 50, d], not {list(acts.shape)}; collect more texts")
    n_train = len(acts) - min(50_000, len(acts) // 50)
    return acts[:n_train], acts[n_train:]


def _shuffled(x: Tensor, recipe: SAERecipe) -> Iterator[Tensor]:
    """Batches of x without end, a fresh order each time through."""
    generator = torch.Generator().manual_seed(recipe.seed + 1)
    while True:
        order = torch.randperm(len(x), generator=generator).to(x.device)
        for place in range(0, max(1, len(x) - recipe.batch + 1), recipe.batch):
            yield x[order[place : place + recipe.batch]]


def _peek(stream: Stream) -> tuple[Tensor, Iterator[Tensor]]:
    """A stream's first rows (about SAMPLE_ROWS) and all its batches, those included."""
    batches = map(stream, itertools.count()) if callable(stream) else iter(stream)
    first = _take(batches)
    if not first:
        raise SaebenchError("the stream of activations is empty; give at least one batch [b, d] for each step")
    if any(b.ndim != 2 or b.shape[1:] != first[0].shape[1:] for b in first):
        shapes = ", ".join(str(list(b.shape)) for b in first[:3])
        raise SaebenchError(f"a stream must give batches [b, d] of one width d, not {shapes}")
    return torch.cat(first), itertools.chain(first, batches)


def _take(batches: Iterator[Tensor]) -> list[Tensor]:
    """The next batches until they hold SAMPLE_ROWS rows, or all that are left."""
    taken, rows = [], 0
    for batch in batches:
        taken.append(batch)
        rows += len(batch)
        if rows >= SAMPLE_ROWS:
            break
    return taken


def _rows(batches: Iterator[Tensor]) -> Tensor:
    taken = _take(batches)
    return torch.cat(taken) if taken else torch.empty(0, 0)
