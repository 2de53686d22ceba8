"""The stability of SAEs over training seeds: from specs, as a table and in JSON types."""

from __future__ import annotations

from collections.abc import Sequence

from saebench_lite.api.context import EvalContext
from saebench_lite.errors import SaebenchError
from saebench_lite.loading import spec as spec_module
from saebench_lite.loading.open import load
from saebench_lite.models.token_rule import TokenRule
from saebench_lite.names import AUTO_DEVICE, read_model_name
from saebench_lite.progress import Progress
from saebench_lite.runs.setup import load_model
from saebench_lite.runs.several_saes import each_sae
from saebench_lite.runs.stability import FIGURES, Stability, stability
from saebench_lite.saes.protocol import moved_to


def stability_of(
    specs: Sequence[str],
    *,
    model: str | None = None,
    hook: str | None = None,
    texts: int = 400,
    device: str = AUTO_DEVICE,
    dtype: str = "float32",
    rule: TokenRule = TokenRule(),  # noqa: B008  (frozen)
    progress: Progress | None = None,
) -> Stability:
    """`stability` of the SAEs of specs, on activations of bundled texts where a model is named.

    SaebenchError for a hook without a model, a model without a hook that has no default one, and whatever stability or
    loading refuse.

    Args:
        specs: `[name=][loader:]path`, patterns and folders of SAEs among them.
        model: name of the model; None: decoder rows alone are compared.
        hook: hook point whose activations the SAEs read; None: the default one of `pico` and of worlds.
        texts: bundled texts, evenly spaced.
        device: where the model and the SAEs are; by default the first CUDA device, or the CPU.
        dtype: of the model.
        rule: what is put in front of texts, and which tokens are left out.
        progress: is told of what is being worked on.
    """
    if model is not None and hook is None:
        hook = read_model_name(model).default_hook
    if (model is None) != (hook is None):
        given, missing = ("--hook", "--model") if model is None else ("--model", "--hook")
        raise SaebenchError(f"{given} is given without {missing}; give both for activations, or neither")
    saes = {spec_module.parse(spec).name: load(spec) for spec in each_sae(specs)}
    if model is None or hook is None:
        return stability(saes, progress=progress)
    from saebench_lite.sources.bundled import load as bundled

    ctx = EvalContext(load_model(model, device, dtype, rule), hook, bundled("", None), progress=progress)
    moved = {name: moved_to(sae, ctx.device) for name, sae in saes.items()}
    return stability(moved, ctx.sample(texts), progress=progress)


def to_json(found: Stability) -> dict[str, object]:
    """All figures, 6 significant digits."""
    return {
        "saes": found.names,
        "dead": found.dead,
        "tokens": found.tokens,
        "mean": {n: {"value": _digits(v), "error": _digits(found.error[n])} for n, v in found.mean.items()},
        "pairs": [
            {
                "saes": [found.names[p.first], found.names[p.second]],
                "mcc_interval": [_digits(e) for e in p.mcc_interval],
            }
            | {n: _digits(v) for n, v in p.figures.items()}
            for p in found.pairs
        ],
        "notes": found.notes,
    }


def to_text(found: Stability) -> str:
    """Markdown: a line a figure with its mean over pairs, its error over runs and its value in each pair."""
    from tabulate import tabulate

    heads = ["figure", "mean", "± over runs", *(_pair_name(found.names, p.first, p.second) for p in found.pairs)]
    rows = []
    for name, mean in found.mean.items():
        error = found.error[name]
        spread = "–" if error is None else f"{error:.4f}"
        rows.append([name, f"{mean:.3f}", spread, *(f"{p.figures[name]:.3f}" for p in found.pairs)])
        if name == "mcc":
            spans = [f"{low:.3f} to {high:.3f}" for low, high in (p.mcc_interval for p in found.pairs)]
            rows.append(["  95 % over latents", "", "", *spans])
    lines = [f"{chr(ord('a') + i)}: {name}" + _dead(found, i) for i, name in enumerate(found.names)]
    lines += ["", tabulate(rows, heads, tablefmt="github", disable_numparse=True), ""]
    lines += [f"{name}: {FIGURES[name]}." for name in found.mean]
    independent = "pairs share SAEs and are not independent, so the error is a jackknife over whole runs"
    lines += ["", f"{len(found.names)} SAEs, {len(found.pairs)} pairs; {independent}."]
    lines += [f"Note: {note}." for note in found.notes]
    return "\n".join(lines) + "\n"


def _dead(found: Stability, i: int) -> str:
    return "" if found.dead is None else f" ({found.dead[i]} latents silent on {found.tokens:,} tokens, left out)"


def _pair_name(names: Sequence[str], i: int, j: int) -> str:
    """`a-b`: short, as names of SAEs are long."""
    assert max(i, j) < len(names)
    return f"{chr(ord('a') + i)}-{chr(ord('a') + j)}"


def _digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
