"""This project's own format: a folder with `sae.safetensors` (AffineSAE's tensors) and `sae.json` (its settings)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from saebench_lite.errors import SaebenchError
from saebench_lite.loaders._save import SavedType, save_folder
from saebench_lite.loading.loader import Loader
from saebench_lite.loading.readers import json_object, read_safetensors, safetensors_header
from saebench_lite.loading.untrusted import brief, label
from saebench_lite.saes.affine import Activation, AffineSAE, Normalisation

FORMAT = "saebench-lite"
HEADER, WEIGHTS = "sae.json", "sae.safetensors"
WAY_OUT = "copy the folder again"
TENSORS = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold", "r_mag", "b_mag")
SETTINGS = ("activation", "k", "subtract_b_dec", "normalize")
FLOATS = ("F16", "BF16", "F32", "F64")


def save(sae: AffineSAE, folder: Path | str, dtype: SavedType = "float32") -> Path:
    """Writes an SAE; matrices in `dtype`, vectors (thresholds, biases) always in float32. Returns the folder.

    Each file appears whole or not at all. SaebenchError for a weight that `dtype` cannot hold.
    """
    facts = {"format": FORMAT, "format_version": 1, **sae.settings(), "meta": sae.meta}
    return save_folder(folder, WEIGHTS, HEADER, facts, sae.tensors, dtype)


def load(path: Path) -> AffineSAE:
    """Reads a folder written by `save`; SaebenchError in one sentence if it is not one."""
    header = _header(path)
    _check_tensors(path / WEIGHTS)
    tensors = read_safetensors(path / WEIGHTS, WAY_OUT)
    parts: dict[str, Any] = {**tensors, **{k: header[k] for k in SETTINGS}}
    return AffineSAE(**parts, meta=header.get("meta", {}))


def recognise(path: Path) -> bool:
    """Whether the folder holds a native `sae.json`."""
    return (path / HEADER).is_file() and (path / WEIGHTS).is_file()


def _check_tensors(path: Path) -> None:
    """Refuses wrong names, kinds and shapes from the file's header alone, before anything is allocated."""
    where = label(path)
    header = safetensors_header(path, WAY_OUT)
    shapes = {name: shape for name, (_, shape) in header.items()}
    dtypes = {name: dtype for name, (dtype, _) in header.items()}
    if unknown := sorted(set(shapes) - set(TENSORS)):
        raise SaebenchError(f"{where} holds an unknown tensor {brief(unknown[0])}; there may be {', '.join(TENSORS)}")
    if missing := [name for name in ("W_enc", "W_dec") if name not in shapes]:
        raise SaebenchError(f"{where} lacks the tensor {missing[0]!r}; write the folder again with native.save")
    for name, dtype in dtypes.items():
        if dtype not in FLOATS:
            raise SaebenchError(
                f"tensor {name} of {where} holds {dtype} numbers; store it as one of {', '.join(FLOATS)}"
            )
    if len(shapes["W_enc"]) != 2 or len(shapes["W_dec"]) != 2 or shapes["W_enc"][1] != shapes["W_dec"][0]:
        raise SaebenchError(
            f"W_enc {shapes['W_enc']} and W_dec {shapes['W_dec']} of {where} do not fit;"
            " [d_in, d_sae] and [d_sae, d_out] are needed"
        )


def _header(path: Path) -> dict[str, Any]:
    where = label(path / HEADER)
    header = json_object(path / HEADER, WAY_OUT)
    if header.get("format") != FORMAT or header.get("format_version") != 1:
        raise SaebenchError(f"{where} is not a {FORMAT} header of version 1; name the loader that wrote it")
    if missing := [key for key in SETTINGS if key not in header]:
        raise SaebenchError(f"{where} lacks {missing[0]!r}; write the folder again with native.save")
    if unknown := sorted(set(header) - {"format", "format_version", "meta", *SETTINGS}):
        raise SaebenchError(f"{where} has an unknown key {brief(unknown[0])}; facts about the SAE belong under 'meta'")
    _check_values(header, where)
    return header


def _check_values(header: dict[str, Any], where: str) -> None:
    for key, choices in (("activation", get_args(Activation)), ("normalize", get_args(Normalisation))):
        if header[key] not in choices:
            raise SaebenchError(f"{where} has {key} = {brief(header[key])}; choose from {', '.join(choices)}")
    if header["k"] is not None and type(header["k"]) is not int:
        raise SaebenchError(f"{where} has k = {brief(header['k'])}; a whole number or null is needed")
    if not isinstance(header["subtract_b_dec"], bool):
        raise SaebenchError(f"{where} has subtract_b_dec = {brief(header['subtract_b_dec'])}; true or false is needed")
    if not isinstance(header.get("meta", {}), dict):
        raise SaebenchError(f"{where} has meta = {brief(header['meta'])}; an object is needed")


LOADER = Loader(
    description="folders written by saebench_lite.loaders.native.save",
    load=load,
    recognise=recognise,
    files=(HEADER, WEIGHTS),
)
