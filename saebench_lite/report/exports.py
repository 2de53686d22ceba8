"""Records as files for other tools: Parquet, Hugging Face model cards, SAEBench's result files, Every Eval Ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from saebench_lite.errors import SaebenchError
from saebench_lite.files import check_file, check_folder, digest, safe_name, write_text
from saebench_lite.records.record import Record
from saebench_lite.records.verdicts import shipped_verdicts
from saebench_lite.report.eee_json import eee_results
from saebench_lite.report.model_index import model_indices
from saebench_lite.report.parquet import write_parquet
from saebench_lite.report.rows import long_rows
from saebench_lite.report.saebench_json import saebench_results

Export = Literal["parquet", "hf", "saebench", "eee"]
EXPORTS: tuple[Export, ...] = get_args(Export)


def export(
    records: Sequence[Record], format: Export, out: Path, metrics: Literal["headline", "all"] = "headline"
) -> list[Path]:
    """Writes records in a format of other tools and returns the files: one file (parquet) or one an SAE in a folder.

    SaebenchError where there is nothing to write or the format cannot say what the records hold.

    Args:
        records: of any number of sites.
        format: parquet, hf, saebench or eee.
        out: the file of a parquet export, the folder of another.
        metrics: of hf and eee, those that tasks show unasked (headline) or all; parquet has all, saebench its own.
    """
    if not records:
        raise SaebenchError("there are no records to export; run something with --out first")
    if format == "parquet":
        check_file("out", out)
        write_parquet(long_rows(records, shipped_verdicts()), out)
        return [out]
    if format == "saebench" and metrics == "all":
        raise SaebenchError("format saebench has metrics of its own; leave out --metrics all")
    if out.exists() and not out.is_dir():
        raise SaebenchError(f"out {str(out)!r} is a file, and format {format} writes one file an SAE; name a folder")
    if format == "hf":
        texts = _named(model_indices(records, metrics), "yaml")
    else:
        texts = eee_results(records, metrics) if format == "eee" else saebench_results(records)
    if not texts:
        raise SaebenchError(f"no record of an SAE has scores that format {format} can hold")
    check_folder("out", out)
    for name, text in texts.items():
        write_text(out / name, text)
    return [out / name for name in texts]


def _named(of_subject: Mapping[str, str], suffix: str) -> dict[str, str]:
    """Texts by file name; where two names of subjects make one file name, a digest tells them apart."""
    stems = [safe_name(name) for name in of_subject]
    out = {}
    for name, text in of_subject.items():
        stem = safe_name(name)
        out[f"{stem}.{suffix}" if stems.count(stem) == 1 else f"{stem}_{digest(name)[:6]}.{suffix}"] = text
    return out
