"""`train`."""

from __future__ import annotations

import json
import math
import re
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
import yaml

from saebench_lite.cli.terminal import Plugins, following, interruptible, plug
from saebench_lite.errors import SaebenchError, told
from saebench_lite.files import check_place, write_text
from saebench_lite.names import AUTO_DEVICE, PICO, PICO_HOOK
from saebench_lite.runs import config_checks as checks

if TYPE_CHECKING:
    from saebench_lite.recipes.recipe import SAERecipe
    from saebench_lite.recipes.trainer import TrainedSAE

OUT = Path("saebench-lite-saes")
REPORT = "training.json"
OWN_FORMAT = {"matching_pursuit", "top_afa"}
"Architectures that SAELens' layout has no place for."
Options = dict[str, Any]
"By name, of many types; the recipe, the model and the source check them."
DEFAULTS: Options = {
    "model": PICO,
    "hook": PICO_HOOK,
    "data": ["bundled"],
    "architecture": "batchtopk",
    "l0": "32",
    "seeds": "0",
    "expansion": 8,
    "steps": 6000,
    "batch": 1024,
    "lr": 1e-3,
    "frozen": "none",
    "end_to_end": False,
    "bf16": False,
    "bos": "auto",
    "leave_out": "sinks",
    "device": AUTO_DEVICE,
    "format": "native",
}
CHECKS: dict[str, checks.Check[object]] = {
    "model": checks.text,
    "hook": checks.text,
    "data": checks.one_or_more,
    "max_texts": checks.optional(checks.number_from(1)),
    "bos": checks.text,
    "leave_out": checks.text,
    "d_sae": checks.optional(checks.number_from(1)),
    "expansion": checks.number_from(1),
    "steps": checks.number_from(1),
    "batch": checks.number_from(1),
    "lr": lambda field, value: checks.above_zero(field, _written_with_e(value)),
    "frozen": checks.text,
    "end_to_end": checks.yes_or_no,
    "bf16": checks.yes_or_no,
    "device": checks.text,
    "format": checks.one_of("native", "sae_lens"),
}
"What an option may hold, given or from a file; the recipe checks the rest."
GROUPS = {
    "What is trained": ("config", "architecture", "l0", "d_sae", "expansion", "seeds", "frozen", "end_to_end"),
    "On what": ("model", "hook", "data", "max_texts", "bos", "leave_out"),
    "How": ("steps", "batch", "lr", "bf16", "device"),
    "Where to": ("out", "format", "quiet"),
}
EXAMPLE = """\b
Example: TopK and JumpReLU at two sparsities side by side, on your own texts, then scored
  saebench-lite train --model gpt2 --hook blocks.8.hook_resid_pre --data local:corpus.txt \\
      --architecture topk,jumprelu --l0 16,64 --steps 20000 --batch 4096 --out runs/gpt2
  saebench-lite run --model gpt2 --hook blocks.8.hook_resid_pre --sae runs/gpt2
"""


def train(
    config: Annotated[
        Path | None, typer.Option(help="TOML or YAML file of these options; options override it.")
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: relu, gated, topk, batchtopk, jumprelu, matryoshka, matching_pursuit, p_annealing,"
            " top_afa; default: batchtopk"
        ),
    ] = None,
    l0: Annotated[str | None, typer.Option(help="Active latents a token, comma-separated; default: 32")] = None,
    d_sae: Annotated[int | None, typer.Option(help="Latents; default: --expansion times the width.")] = None,
    expansion: Annotated[int | None, typer.Option(help="Latents a dimension; default: 8")] = None,
    seeds: Annotated[str | None, typer.Option(help="Of the training, comma-separated; default: 0")] = None,
    frozen: Annotated[
        str | None, typer.Option(help="A part left at random: none, decoder, soft_decoder, encoder; default: none")
    ] = None,
    end_to_end: Annotated[
        bool | None,
        typer.Option("--end-to-end", help="Train through the model: KL of its predictions beside the squared error."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Hub id or local folder; default: pico, the bundled model")] = None,
    hook: Annotated[str | None, typer.Option(help="blocks.N.hook_resid_post, ..., or a module path.")] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="source[:where] of the texts; repeat. See: list sources; default: bundled")
    ] = None,
    max_texts: Annotated[int | None, typer.Option(help="Texts at most.")] = None,
    bos: Annotated[
        str | None,
        typer.Option(help="In front of each text: auto, prepend, as-is, none, or a vocabulary token; default: auto"),
    ] = None,
    leave_out: Annotated[
        str | None,
        typer.Option(help="Beside special tokens: sinks[:10] (times the median norm), first, special; default: sinks"),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Of the optimiser; default: 6000")] = None,
    batch: Annotated[int | None, typer.Option(help="Tokens of a step; default: 1024")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate of Adam; default: 0.001")] = None,
    bf16: Annotated[bool | None, typer.Option("--bf16", help="Model and matrix products in bfloat16.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; default: auto, cuda or else cpu")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the SAEs; an interrupted training there is continued.")] = OUT,
    format: Annotated[str | None, typer.Option(help="native, or sae_lens (SAELens' layout); default: native")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no remarks; warnings stay.")] = False,
    plugin: Plugins = None,
) -> None:
    """Train SAEs side by side on one stream of a model's activations; a run scores the folder.

    long: one parameter an option.
    """
    given = {
        "architecture": architecture,
        "l0": l0,
        "d_sae": d_sae,
        "expansion": expansion,
        "seeds": seeds,
        "frozen": frozen,
        "end_to_end": end_to_end,
        "model": model,
        "hook": hook,
        "data": data or None,
        "max_texts": max_texts,
        "bos": bos,
        "leave_out": leave_out,
        "steps": steps,
        "batch": batch,
        "lr": lr,
        "bf16": bf16,
        "device": device,
        "format": format,
    }
    asked = effective(config, {name: value for name, value in given.items() if value is not None}, set(given))
    plug(plugin)
    if asked["format"] == "sae_lens" and (own := set(_items(asked["architecture"])) & OWN_FORMAT):
        raise SaebenchError(f"SAELens' layout has no {min(own)} here; give --format native")
    if (out / REPORT).exists():
        raise SaebenchError(f"{out} holds the SAEs of a finished training; give another --out")
    check_place("out", out)
    from saebench_lite.models.language_model import LanguageModel
    from saebench_lite.models.token_rule import TokenRule
    from saebench_lite.recipes.long_run import discard, train_on_texts
    from saebench_lite.runs.setup import load_data

    texts = texts_of(load_data(asked["data"]), asked.get("max_texts"))
    rule = TokenRule(bos=asked["bos"], leave_out=asked["leave_out"])
    dtype = "bfloat16" if asked["bf16"] else "float32"
    lm = LanguageModel.load(asked["model"], device=asked["device"], rule=rule, dtype=dtype)
    recipes = recipes_of(asked, lm.hook_width(asked["hook"]))
    with interruptible(f"the same command goes on from the checkpoint in {out}"), following(quiet) as progress:
        saes = train_on_texts(
            lm,
            asked["hook"],
            texts,
            recipes,
            out,
            device=str(lm.device),
            on_step=lambda done, of: progress.update("training", done, of),
        )
    figures = {name: _written(sae, out / name, asked["format"]) for name, sae in saes.items()}
    write_text(out / REPORT, json.dumps({"asked": asked, "saes": figures}, indent=1) + "\n")
    discard(out)
    for name, held in figures.items():
        typer.echo(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in held.items()))
        if not recipes[name].l0 / 2 <= held["l0"] <= 2 * recipes[name].l0:
            typer.echo(f"Check {name}: its L0 is {held['l0']:.4g} where {recipes[name].l0:g} was asked for", err=True)
        if held["dead_fraction"] > 0.5:
            typer.echo(f"Check {name}: {100 * held['dead_fraction']:.0f} % of its latents are dead", err=True)
    typer.echo(f"SAEs and {REPORT} in {out}", err=True)


def effective(file: Path | None, given: Options, known: set[str]) -> Options:
    """Options given, over those of the file, over the defaults.

    SaebenchError for a file with other keys, and for a value that an option cannot have.
    """
    held: Options = {}
    if file is not None:
        if not file.is_file():
            raise SaebenchError(f"--config {file} is no file; name a TOML or YAML file of options")
        text = file.read_text(encoding="utf-8")
        try:
            held = tomllib.loads(text) if file.suffix == ".toml" else yaml.safe_load(text)
        except (tomllib.TOMLDecodeError, yaml.YAMLError) as error:
            raise SaebenchError(f"{file} cannot be read ({str(error).splitlines()[0]}); mend it") from None
        if not isinstance(held, dict):
            raise SaebenchError(f"{file} holds no options; write one `name: value` a line")
        held = {str(key).replace("-", "_"): value for key, value in held.items()}
        if odd := sorted(set(held) - known):
            raise SaebenchError(f"{file} has an unknown option {odd[0]!r}; there are {', '.join(sorted(known))}")
    asked = DEFAULTS | held | given
    return {name: CHECKS[name](name, value) if name in CHECKS else value for name, value in asked.items()}


def recipes_of(asked: Options, width: int) -> dict[str, SAERecipe]:
    """One recipe for each architecture, L0 and seed, by the name of its folder."""
    from saebench_lite.recipes.recipe import SAERecipe

    d_sae = asked["expansion"] * width if asked.get("d_sae") is None else asked["d_sae"]
    out = {}
    for architecture in _items(asked["architecture"]):
        for l0 in map(_number, _items(asked["l0"])):
            for seed in map(_seed, _items(asked["seeds"])):
                name = f"{architecture}_{d_sae}_l0_{l0}"
                name += "" if asked["frozen"] == "none" else f"_frozen_{asked['frozen']}"
                name += "_end_to_end" if asked["end_to_end"] else ""
                out[name + (f"_seed_{seed}" if seed else "")] = SAERecipe(
                    architecture=architecture,  # pyright: ignore[reportArgumentType]  (the recipe checks it)
                    d_sae=d_sae,
                    l0=l0,
                    steps=asked["steps"],
                    batch=asked["batch"],
                    lr=asked["lr"],
                    frozen=asked["frozen"],
                    end_to_end=asked["end_to_end"],
                    bf16=asked["bf16"],
                    seed=seed,
                )
    return out


def _items(value: Any) -> list[str]:  # Any: a file may hold a list, a number or a text
    return [str(v) for v in value] if isinstance(value, list) else str(value).split(",")


def _number(text: str) -> int | float:
    """A whole number where it is one; SaebenchError for what is no finite number."""
    with suppress(ValueError):
        if math.isfinite(value := float(text)):
            return int(value) if value == int(value) else value
    raise SaebenchError(f"l0 {told(text)} is no number; give numbers separated by commas")


def _seed(text: str) -> int:
    """A seed that torch takes; SaebenchError for anything else."""
    if not re.fullmatch(r"[0-9]{1,18}", text.strip()):
        raise SaebenchError(f"seeds holds {told(text)}; give whole numbers, 0 at least, separated by commas")
    return int(text)


def _written_with_e(value: object) -> object:
    """The number in a text: YAML reads one without a point, such as 1e-3, as a text."""
    if isinstance(value, str):
        with suppress(ValueError):
            return float(value)
    return value


def texts_of(data: Any, most: int | None) -> tuple[str, ...]:  # Any: saebench_lite.data.types.Data
    """All texts that a source has, of datasets and concepts too, each once."""
    corpora = [*data.texts, *(d.corpus for d in (*data.datasets, *data.concepts))]
    return tuple(dict.fromkeys(text for corpus in corpora for text in corpus.texts))[:most]


def _written(sae: TrainedSAE, folder: Path, format: Literal["native", "sae_lens"]) -> dict[str, float]:
    """Writes an SAE; its figures on held-out rows, and seconds."""
    from saebench_lite.loaders import sae_lens
    from saebench_lite.recipes.train_sae import save
    from saebench_lite.saes.affine import AffineSAE

    if format == "sae_lens" and isinstance(sae, AffineSAE):
        sae_lens.save(sae, folder)
    else:
        save(sae, folder)
    return {**sae.meta["held_out"], "seconds": sae.meta["seconds"]}
