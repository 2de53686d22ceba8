"""What an SAE file is, before anything is scored: recognised facts, a measurement on texts, and what looks wrong.

The measurement (L0, explained variance, dead latents) is that of the reconstruction task, on the bundled texts. A
published L0 that is missed by more than a factor of two is the cheapest sign of a wrong hook, scale or top-k rule.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.loading import open
from saebench_lite.loading import spec as spec_module
from saebench_lite.names import PICO, PICO_HOOK
from saebench_lite.saes.conformance import check_sae
from saebench_lite.saes.protocol import SAE, decoder_of, device_of, fingerprint, reconstruct

FACTOR = 2.0
"Measured over published L0, either way, that is still no warning."


CHUNK = 2048


def inspect_sae(
    spec: str,
    *,
    model: str | None = None,
    hook: str | None = None,
    texts: int = 200,
    device: str = "cpu",
    dtype: str = "float32",
) -> dict[str, Any]:
    """A JSON-ready report on the SAE of a spec; SaebenchError if it cannot be read at all.

    `model` and `hook` say where to measure. Without them the bundled model is used for an SAE whose own facts name it;
    any other SAE is described without measurement. `texts`: how many bundled texts, evenly spaced.
    Keys: name, format, kind, shapes, facts, settings, fingerprint, verdict ("ok" or what does not conform), measured
    (or null), warnings (sentences).
    """
    parsed = spec_module.parse(spec)
    sae = open.read(parsed)
    report: dict[str, Any] = describe(sae) | {"name": parsed.name, "spec": spec}
    report["verdict"] = _verdict(sae)
    facts = report["facts"]
    is_file = Path(parsed.where).expanduser().exists()
    report["format"] = facts.get("format") or parsed.loader or ("native" if is_file else "object")
    if model is None and facts.get("model") == PICO:
        model = PICO
    if model == PICO and hook is None:
        hook = str(facts.get("hook") or PICO_HOOK)
    if model is not None and report["verdict"] == "ok":
        if hook is None:
            hook = facts.get("hook")
        if not isinstance(hook, str):
            raise SaebenchError(f"{parsed.name} does not tell its hook; give --hook, for example --hook {PICO_HOOK}")
        report |= measure_at(sae, model, hook, texts=texts, device=device, dtype=dtype)
    report["warnings"] = [*_static_warnings(report, model, hook), *report.pop("measured_warnings", [])]
    return report


def describe(sae: SAE) -> dict[str, Any]:
    """What can be said of an SAE without running it on text."""
    tensors = getattr(sae, "tensors", {})
    decoder = decoder_of(sae)
    norms = None if decoder is None else decoder.float().norm(dim=1)
    settings = getattr(sae, "settings", None)
    return {
        "kind": type(sae).__name__,
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "d_out": getattr(sae, "d_out", sae.d_in),
        "shapes": {name: list(t.shape) for name, t in tensors.items()},
        "settings": settings() if callable(settings) else {},
        "facts": dict(getattr(sae, "meta", None) or {}),
        "decoder_norms": None if norms is None else [round(float(q), 4) for q in norms.aminmax()],
        "fingerprint": fingerprint(sae)[:16],
        "measured": None,
    }


@torch.no_grad()
def measure(sae: SAE, x: Tensor) -> dict[str, float]:
    """L0, explained variance (1 - SSE / SST, pooled) and dead fraction on activations x [n, d_in]."""
    fired = torch.zeros(sae.d_sae, dtype=torch.float64)
    sse = torch.zeros((), dtype=torch.float64)
    for rows in x.split(CHUNK):
        rows = rows.to(device_of(sae), torch.float32)
        f = sae.encode(rows)
        fired += (f != 0).sum(0, dtype=torch.float64).cpu()
        sse += (rows.double() - reconstruct(sae, rows, f).double()).square().sum().cpu()
    total = (x.double() - x.double().mean(0)).square().sum()
    return {
        "tokens": len(x),
        "l0": (fired.sum() / len(x)).item(),
        "explained_variance": (1 - sse / total).item(),
        "dead_fraction": (fired == 0).double().mean().item(),
    }


def measure_at(sae: SAE, model: str, hook: str, *, texts: int, device: str, dtype: str) -> dict[str, Any]:
    """`measured` and `measured_warnings` of an SAE at a hook, on evenly spaced bundled texts."""
    from saebench_lite.api.context import EvalContext
    from saebench_lite.models.language_model import LanguageModel
    from saebench_lite.sources.bundled import load as bundled

    ctx = EvalContext(LanguageModel.load(model, device=device, dtype=dtype), hook, bundled("", None))
    if sae.d_in != ctx.d_in:
        sentence = f"the SAE reads {sae.d_in} dimensions but {hook} of {model} has {ctx.d_in}: wrong model or hook"
        return {"measured": None, "measured_warnings": [sentence]}
    sae = sae.to(ctx.device) if hasattr(sae, "to") else sae  # type: ignore[attr-defined]
    found = measure(sae, ctx.sample(texts))
    meta = getattr(sae, "meta", {})
    if meta.get("transcoder"):
        del found["explained_variance"]  # it writes another activation than it reads
    return {
        "measured": {"model": model, "hook": hook, **found},
        "measured_warnings": measured_warnings(found, meta.get("published_l0")),
    }


def measured_warnings(found: dict[str, float], published: float | None) -> list[str]:
    """Sentences on a measurement: L0 far from the published one, dead latents, poor reconstruction."""
    out = []
    l0 = found["l0"]
    if published and not published / FACTOR <= l0 <= published * FACTOR:
        side = "above" if l0 > published else "below"
        out.append(
            f"measured L0 {l0:.3g} is far {side} the published {published:g}; that usually means a wrong hook or layer,"
            " a missing normalisation of the input, or top-k where a threshold was meant (or the reverse)"
        )
    if found["dead_fraction"] > 0.1:
        out.append(f"{found['dead_fraction']:.1%} of the latents never fire on {found['tokens']:.0f} tokens")
    if found.get("explained_variance", 1.0) < 0:
        out.append(
            f"explained variance is {found['explained_variance']:.3g}: the mean activation alone would do better, so"
            " the SAE does not belong to this place, or its scale is off"
        )
    return out


def _static_warnings(report: dict[str, Any], model: str | None, hook: str | None) -> list[str]:
    facts, out = report["facts"], []
    for key, asked in (("model", model), ("hook", hook)):
        told = facts.get(key)
        if asked and told and str(told).split("/")[-1].lower() != str(asked).rstrip("/").split("/")[-1].lower():
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


def as_text(report: dict[str, Any]) -> str:
    """The report in lines for a terminal."""
    facts = report["facts"].items()
    shown = {k: v for k, v in facts if v is not None and k != "format" and not isinstance(v, dict)}
    rows: dict[str, Any] = {
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
