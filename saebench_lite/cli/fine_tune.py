"""`fine-tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from saebench_lite.cli.terminal import Bos, Device, LeaveOut, Plugins, following, interruptible, plug
from saebench_lite.cli.train import texts_of
from saebench_lite.errors import SaebenchError
from saebench_lite.files import check_place
from saebench_lite.names import AUTO_DEVICE
from saebench_lite.runs.config_checks import above_zero, number_from, optional

EXAMPLE = """\b
Example: half a thousand steps on your own texts, then both scored
  saebench-lite fine-tune ./runs/topk32 --model gpt2 --hook blocks.8.hook_resid_pre \\
      --data local:corpus.txt --out runs/topk32-tuned
  saebench-lite run --model gpt2 --hook blocks.8.hook_resid_pre --sae ./runs/topk32 ./runs/topk32-tuned
"""


def fine_tune(
    sae: Annotated[str, typer.Argument(help="[loader:]path of an SAE.")],
    out: Annotated[Path, typer.Option(help="Folder of the SAE afterwards.")],
    model: Annotated[
        str | None, typer.Option(help="Hub id or local folder; default: what the SAE's metadata say")
    ] = None,
    hook: Annotated[str | None, typer.Option(help="blocks.N.hook_resid_post, ...; default: the SAE's own")] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="source[:where] of the texts; repeat. See: list sources; default: bundled")
    ] = None,
    max_texts: Annotated[int | None, typer.Option(help="Texts at most.")] = None,
    part: Annotated[
        str,
        typer.Option(help="all weights; adapter, a linear map behind the decoder; or lora, the model behind the hook."),
    ] = "all",
    rank: Annotated[int, typer.Option(help="Of LoRA's changes.")] = 16,
    steps: Annotated[int, typer.Option(help="Of the optimiser.")] = 500,
    tokens: Annotated[int, typer.Option(help="Of a batch, at most.")] = 1024,
    lr: Annotated[float, typer.Option(help="Learning rate at the start.")] = 5e-5,
    seed: Annotated[int, typer.Option(help="Of the order of texts.")] = 0,
    bos: Bos = "auto",
    leave_out: LeaveOut = "sinks",
    dtype: Annotated[str, typer.Option(help="Of the model: float32, bfloat16.")] = "float32",
    device: Device = AUTO_DEVICE,
    format: Annotated[str, typer.Option(help="native, or sae_lens (SAELens' layout).")] = "native",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no remarks; warnings stay.")] = False,
    plugin: Plugins = None,
) -> None:
    """Fine-tune an SAE briefly on KL and squared error, with its reconstruction in the model.

    long: one parameter an option.
    """
    plug(plugin)
    from saebench_lite.loaders import native, sae_lens
    from saebench_lite.loading.open import load
    from saebench_lite.models.language_model import LanguageModel
    from saebench_lite.models.token_rule import TokenRule
    from saebench_lite.recipes.fine_tune import FineTune
    from saebench_lite.recipes.fine_tune import fine_tune as tuned_by
    from saebench_lite.runs.setup import load_data
    from saebench_lite.saes.affine import AffineSAE

    writers = {"native": native.save, "sae_lens": sae_lens.save}
    if format not in writers:
        raise SaebenchError(f"--format {format!r} is not known; choose {' or '.join(writers)}")
    if out.exists():
        raise SaebenchError(f"--out {out} exists; give another folder")
    check_place("out", out)
    max_texts = optional(number_from(1))("max_texts", max_texts)
    for option, least, value in (("rank", 1, rank), ("steps", 1, steps), ("tokens", 2, tokens), ("seed", 0, seed)):
        number_from(least)(option, value)
    above_zero("lr", lr)
    recipe = FineTune(part=part, rank=rank, steps=steps, tokens=tokens, lr=lr, seed=seed)  # pyright: ignore[reportArgumentType]  (it checks part)
    loaded = load(sae)
    if not isinstance(loaded, AffineSAE):
        raise SaebenchError(f"{sae} has no affine encoder and decoder; a fine-tune needs one that has")
    where = _told(loaded.meta, model, "model"), _told(loaded.meta, hook, "hook")
    texts = texts_of(load_data(data or ["bundled"]), max_texts)
    rule = TokenRule(bos=bos, leave_out=leave_out)
    lm = LanguageModel.load(where[0], device=device, rule=rule, dtype=_dtype(dtype))
    with interruptible("nothing was written"), following(quiet) as progress:
        tuned = tuned_by(
            loaded, lm, where[1], texts, recipe, on_step=lambda done, of: progress.update("fine-tune", done, of)
        )
    writers[format](tuned.sae, out)
    where_model = f"; the model is in {tuned.model.save(out / 'model')}" if tuned.model else ""
    facts = tuned.sae.meta["fine_tune"]
    typer.echo(f"{out}: {steps} steps, {facts['seconds']} s{where_model}")
    if "gap_before" in facts:
        before, after = facts["gap_before"], facts["gap_after"]
        share = f" ({100 * (1 - after / before):.0f} % less)" if before > 0 else ""
        typer.echo(f"cross-entropy that the reconstruction costs: {before:.4g} before, {after:.4g} after{share}")


def _dtype(name: str) -> Literal["float32", "bfloat16"]:
    """A type that gradients can be taken in."""
    if name not in ("float32", "bfloat16"):
        raise SaebenchError(f"--dtype {name!r} is not known; choose float32 or bfloat16")
    return name


def _told(meta: dict[str, Any], given: str | None, what: str) -> str:  # Any: metadata hold whatever was stored
    """The option, or else what the metadata say."""
    value = given if given is not None else meta.get(what)
    if not isinstance(value, str) or not value:
        raise SaebenchError(f"the SAE does not say its {what}; give --{what}")
    return value
