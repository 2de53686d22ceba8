"""Files shipped with the package: the pico model, its SAEs, labelled concept texts.

May import: nothing.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent


def sae_folders() -> list[Path]:
    """Folders of the bundled SAEs, in the native format, sorted by name."""
    return sorted(p.parent for p in (ROOT / "saes").glob("*/sae.json"))
