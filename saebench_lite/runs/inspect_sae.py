"""What an SAE file is, before anything is scored: recognised facts, a measurement on texts, and what looks wrong.

The measurement (L0, explained variance, dead latents) is that of the reconstruction task, on the bundled texts. A
published L0 that is missed by more than a factor of two is the cheapest sign of a wrong hook, scale or top-k rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError, reason
from saebench_lite.loading import open
from saebench_lite.loading import spec as spec_module
from saebench_lite.metrics.reconstruction import reconstruction_figures
from saebench_lite.models.protocol import Model
from saebench_lite.models.token_rule import TokenRule
from saebench_lite.names import AUTO_DEVICE, PICO, PICO_HOOK, read_model_name
from saebench_lite.runs.config_checks import number_from
from saebench_lite.runs.setup import load_model
from saebench_lite.runs.sites import other_rule, same_hook, same_model
from saebench_lite.saes.adapt import adapted
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.conformance import check_sae
from saebench_lite.saes.identity import fingerprint
from saebench_lite.saes.matching_pursuit import MatchingPursuitSAE
from saebench_lite.saes.protocol import (
    SAE,
    HasOutputWidth,
    decoder_of,
    device_of,
    is_transcoder,
    meta_of,
    moved_to,
    reconstruct,
)

FACTOR = 2.0
"Measured over published L0, either way, that is still no warning."


CHUNK = 2048


class Measured(TypedDict):
    """A measurement on texts."""

    measured: dict[str, Any] | None
    "Model, hook and figures; None where nothing was measured."
    measured_warnings: list[str]


class Description(TypedDict):
    """What can be said of an SAE without running it on text."""

    kind: str
    d_in: int
    d_sae: int
    d_out: int
    shapes: dict[str, list[int]]
    settings: Mapping[str, object]
    facts: dict[str, Any]
    decoder_norms: list[float] | None
    "Smallest and largest."
    fingerprint: str
    measured: dict[str, Any] | None
    "As in `Measured`."


class Report(Description):
    """All that `inspect_sae` finds, in JSON types."""

    name: str
    spec: str
    verdict: str
    "ok, or what does not conform."
    format: str
    "What the file says, else the name of the loader that read it; object for an importable one."
    warnings: list[str]


def inspect_sae(
    spec: str | SAE,
    *,
    model: str | None = None,
    hook: str | None = None,
    texts: int = 200,
    device: str = AUTO_DEVICE,
    dtype: str = "float32",
    rule: TokenRule = TokenRule(),  # noqa: B008  (frozen)
) -> Report:
    """A JSON-ready report on a live SAE or the SAE of a spec; SaebenchError if it cannot be read at all.

    Without `model` and `hook` the bundled model is used for an SAE whose own facts name it; any other SAE is described
    without measurement. `verdict` is "ok" or what does not conform.

    Args:
        spec: `name=loader:where` of the SAE, or the SAE itself.
        model: name of the model to measure on.
        hook: hook point to measure at; by default the one the SAE or the model names.
        texts: how many bundled texts, evenly spaced.
        device: where the model is; by default the first CUDA device, or the CPU.
        dtype: of the model.
        rule: what is put in front of texts, and which tokens are left out.
    """
    texts = number_from(1)("texts", texts)
    if isinstance(spec, str):
        name = spec_module.parse(spec).name
        sae, loader = open.read_with_loader(spec_module.parse(spec))
    else:
        name, sae, loader = type(spec).__name__, spec, None
    try:
        description = describe(sae)
    except Exception as error:  # an SAE is foreign code
        raise SaebenchError(f"{name} cannot be described ({reason(error)}); {_verdict(sae)}") from error
    facts = description["facts"]
    report: Report = {
        **description,
        "name": name,
        "spec": spec if isinstance(spec, str) else name,
        "verdict": _verdict(sae),
        "format": facts.get("format") or loader or "object",
        "warnings": [],
    }
    sentences: list[str] = []
    if model is None and facts.get("model") == PICO:
        model = PICO
    if model is not None and report["verdict"] == "ok":
        if hook is None:
            hook = facts.get("hook") or read_model_name(model).default_hook
        if not isinstance(hook, str):
            raise SaebenchError(f"{name} does not tell its hook; give --hook, for example --hook {PICO_HOOK}")
        measurement = measure_at(sae, load_model(model, device, dtype, rule), hook, texts=texts)
        report["measured"], sentences = measurement["measured"], measurement["measured_warnings"]
    report["warnings"] = [*_static_warnings(facts, model, hook), *sentences]
    return report


def describe(sae: SAE) -> Description:
    """What can be said of an SAE without running it on text."""
    tensors = sae.tensors if isinstance(sae, AffineSAE | MatchingPursuitSAE) else {}
    decoder = decoder_of(sae)
    norms = None if decoder is None else decoder.float().norm(dim=1)
    return {
        "kind": type(sae).__name__,
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "d_out": sae.d_out if isinstance(sae, HasOutputWidth) else sae.d_in,
        "shapes": {name: list(t.shape) for name, t in tensors.items()},
        "settings": sae.settings() if isinstance(sae, AffineSAE) else {},
        "facts": meta_of(sae),
        "decoder_norms": None if norms is None else [round(float(q), 4) for q in norms.aminmax()],
        "fingerprint": fingerprint(sae)[:16],
        "measured": None,
    }


@torch.no_grad()
def measure(sae: SAE, x: Tensor) -> dict[str, float]:
    """L0, explained variance (1 - SSE / SST, pooled) and dead fraction on activations x [n, d_in]."""
    moved = (rows.to(device_of(sae), torch.float32) for rows in x.split(CHUNK))
    coded = ((rows, sae.encode(rows)) for rows in moved)
    return reconstruction_figures(((rows, reconstruct(sae, rows, f), f) for rows, f in coded), x.double().mean(0))


def measure_at(sae: SAE, lm: Model, hook: str, *, texts: int) -> Measured:
    """`measured` and `measured_warnings` of an SAE at a hook, on evenly spaced bundled texts.

    Args:
        sae: the SAE.
        lm: the model.
        hook: hook point whose activations it reads.
        texts: how many texts.
    """
    from saebench_lite.api.context import EvalContext
    from saebench_lite.sources.bundled import load as bundled

    ctx = EvalContext(lm, hook, bundled("", None))
    if sae.d_in != ctx.d_in:
        sentence = f"the SAE reads {sae.d_in} dimensions but {hook} of {lm.name} has {ctx.d_in}: wrong model or hook"
        return {"measured": None, "measured_warnings": [sentence]}
    sae = adapted(moved_to(sae, ctx.device))
    figures = measure(sae, ctx.sample(texts))
    if is_transcoder(sae):
        del figures["explained_variance"]  # it writes another activation than it reads
    published, positions = meta_of(sae).get("published_l0"), lm.positions(ctx.hook)
    warnings = measured_warnings(figures, published if isinstance(published, int | float) else None)
    warnings += [*filter(None, [positions.finding, other_rule(meta_of(sae), positions)]), *ctx.notes]
    return {
        "measured": {"model": lm.name, "hook": ctx.hook, "token_rule": positions.code, **figures},
        "measured_warnings": warnings,
    }


def measured_warnings(figures: dict[str, float], published: float | None) -> list[str]:
    """Sentences on a measurement: L0 far from the published one, dead latents, poor reconstruction."""
    out = []
    l0 = figures["l0"]
    if published and not published / FACTOR <= l0 <= published * FACTOR:
        side = "above" if l0 > published else "below"
        out.append(
            f"measured L0 {l0:.3g} is far {side} the published {published:g}; that usually means a wrong hook or layer,"
            " a missing normalisation of the input, or top-k where a threshold was meant (or the reverse)"
        )
    if figures["dead_fraction"] > 0.1:
        out.append(f"{figures['dead_fraction']:.1%} of the latents never fire on {figures['tokens']:.0f} tokens")
    if figures.get("explained_variance", 1.0) < 0:
        out.append(
            f"explained variance is {figures['explained_variance']:.3g}: the mean activation alone would do better, so"
            " the SAE does not belong to this place, or its scale is off"
        )
    return out


def _static_warnings(facts: Mapping[str, object], model: str | None, hook: str | None) -> list[str]:
    out = []
    for key, asked, same in (("model", model, same_model), ("hook", hook, same_hook)):
        told = facts.get(key)
        if asked and told and not same(str(asked), str(told)):
            out.append(f"the file says {key} {told!r}, but {asked!r} was asked for")
    if facts.get("transcoder"):
        out.append(
            f"this is a transcoder from {facts.get('hook_in')} to {facts.get('hook_out')}: reconstruction scores"
            " compare its output with its input and mean nothing"
        )
    return out


def _verdict(sae: SAE) -> str:
    try:
        check_sae(sae)
    except SaebenchError as error:
        return str(error)
    return "ok"


def as_text(report: Report) -> str:
    """The report in lines for a terminal."""
    facts = report["facts"].items()
    shown = {k: v for k, v in facts if v is not None and k != "format" and not isinstance(v, dict)}
    rows: dict[str, object] = {
        "name": report["name"],
        "format": report["format"],
        "size": f"d_in {report['d_in']}, d_sae {report['d_sae']}, d_out {report['d_out']}",
        "tensors": ", ".join(f"{name} {shape}" for name, shape in report["shapes"].items()) or None,
        "settings": ", ".join(f"{k} {v}" for k, v in report["settings"].items() if v is not None) or None,
        **{key: value for key, value in shown.items()},
        "decoder norms": report["decoder_norms"] and "{} to {}".format(*report["decoder_norms"]),
        "fingerprint": report["fingerprint"],
        "protocol": report["verdict"],
    }
    if report["measured"] is not None:
        measured = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in report["measured"].items()}
        rows["measured"] = ", ".join(f"{k} {v}" for k, v in measured.items())
    lines = [f"{key:<20} {value}" for key, value in rows.items() if value is not None]
    lines += [f"warning: {sentence}" for sentence in report["warnings"]]
    return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)
