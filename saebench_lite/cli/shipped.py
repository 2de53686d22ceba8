"""What `list` and `describe` tell of what is shipped: profiles, the bundled model and its SAEs."""

from __future__ import annotations

import json
from pathlib import Path

from saebench_lite.bundled import ROOT, sae_folders
from saebench_lite.names import PICO, PICO_HOOK
from saebench_lite.runs.profiles import PROFILES, Profile

Row = dict[str, str]
KINDS = ("profiles", "saes")


def rows(kind: str) -> list[Row]:
    """Kind, name and one line for each of a kind of KINDS."""
    if kind == "profiles":
        return [
            {"kind": "profile", "name": name, "description": f"{p.source}: {', '.join(p.settings)}"}
            for name, p in PROFILES.items()
        ]
    return [{"kind": "sae", "name": folder.name, "description": _sae_line(folder)} for folder in sae_folders()]


def names() -> list[str]:
    """What `described` knows."""
    return [*PROFILES, PICO, *(folder.name for folder in sae_folders())]


def described(name: str) -> str | None:
    """What is known of a profile, of the bundled model or of a bundled SAE; None for another name."""
    if name in PROFILES:
        return _profile_text(PROFILES[name])
    if name == PICO:
        return _model_text()
    folder = next((f for f in sae_folders() if f.name == name), None)
    return None if folder is None else f"sae {name} ({_sae_line(folder)})\n\nsaebench-lite inspect '{folder}'\n"


def _profile_text(profile: Profile) -> str:
    lines = [f"profile {profile.name} ({profile.source})", "", f"saebench-lite run --profile {profile.name}", ""]
    lines += ["settings that differ from the defaults:"]
    lines += [f"  {task}.{field} = {value!r}" for task, of in profile.settings.items() for field, value in of.items()]
    lines += ["", "what stays different:", *(f"  {sentence}" for sentence in profile.beyond)]
    return "\n".join(lines) + "\n"


def _model_text() -> str:
    told = json.loads((ROOT / PICO / "training.json").read_text(encoding="utf-8"))
    size = told["recipe"]
    return "\n".join(
        [
            f"model {PICO} (bundled)",
            "",
            f"{told['parameters']:,} parameters, {size['layers']} blocks of width {size['width']}, context"
            f" {size['context']}, held-out loss {told['held_out_loss']:.4g} nats a token (uniform"
            f" {told['uniform_loss']:.4g})",
            f"default hook: {PICO_HOOK}",
            f"its SAEs there: {', '.join(folder.name for folder in sae_folders())}",
            "",
            f"saebench-lite inspect --model {PICO}",
            "",
        ]
    )


def _sae_line(folder: Path) -> str:
    """Architecture, width, site and held-out figures of a bundled SAE."""
    meta = json.loads((folder / "sae.json").read_text(encoding="utf-8"))["meta"]
    figures = meta["held_out"]
    return (
        f"{meta['architecture']}, {meta['recipe']['d_sae']} latents at {meta['hook']} of {meta['model']}: L0"
        f" {figures['l0']:.3g}, explained variance {figures['explained_variance']:.3f}"
    )
