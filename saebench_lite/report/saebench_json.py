"""SAE scores in the layout of SAEBench's result files, for tools that read these: one JSON file an evaluation and SAE.

Layout: SAEBench 0.6.0 (arXiv:2503.09532), its result schemas of core, sparse_probing and absorption_first_letter. A
figure of which we score none under the same definition is -1 where the layout asks for one, as core itself writes what
it could not compute, and null elsewhere. Definitions differ unless the run had `--profile saebench-0.6`; settings are
in `eval_config.saebench_lite`, and docs/parity.md says what stays different.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime

import numpy as np

from saebench_lite.errors import SaebenchError
from saebench_lite.files import digest, safe_name
from saebench_lite.records.arrays import unit_scores
from saebench_lite.records.record import Record, rounded
from saebench_lite.records.selection import newest_by_subject, site_titles
from saebench_lite.stats.intervals import collapse
from saebench_lite.version import __version__

UNKNOWN = -1
KS = (1, 2, 5, 10, 20, 50, 100)
"Values of k that the layout has a place for."
SAE_ID = "custom_sae"
"What SAEBench calls an SAE that is not of a SAELens release."
CORE: dict[str, dict[str, tuple[str, str] | None]] = {
    "model_behavior_preservation": {
        "kl_div_score": None,
        "kl_div_with_ablation": None,
        "kl_div_with_sae": ("ce_delta", "kl"),
    },
    "model_performance_preservation": {
        "ce_loss_score": ("ce_delta", "loss_recovered"),
        "ce_loss_with_ablation": ("ce_delta", "ce_zero"),
        "ce_loss_with_sae": ("ce_delta", "ce_spliced"),
        "ce_loss_without_sae": ("ce_delta", "ce_clean"),
    },
    "reconstruction_quality": {
        "explained_variance": ("reconstruction", "saebench_explained_variance"),
        "explained_variance_legacy": ("reconstruction", "saebench_explained_variance_legacy"),
        "mse": ("reconstruction", "saebench_mse"),
        "cossim": ("reconstruction", "cosine"),
    },
    "shrinkage": {
        "l2_norm_in": None,
        "l2_norm_out": None,
        "l2_ratio": ("reconstruction", "l2_ratio"),
        "relative_reconstruction_bias": ("reconstruction", "relative_bias"),
    },
    "sparsity": {"l0": ("reconstruction", "l0"), "l1": ("reconstruction", "l1")},
    "token_stats": {"total_tokens_eval_reconstruction": None, "total_tokens_eval_sparsity_variance": None},
    "misc_metrics": {
        "freq_over_1_percent": ("reconstruction", "frequent_fraction"),
        "freq_over_10_percent": ("reconstruction", "dense_fraction"),
        "normalized_freq_over_1_percent": None,
        "normalized_freq_over_10_percent": None,
        "average_max_encoder_cosine_sim": None,
        "average_max_decoder_cosine_sim": ("reconstruction", "nearest_decoder_cosine"),
        "frac_alive": ("reconstruction", "alive_fraction"),
    },
}
"{category: {figure: (task, metric)}}; None where no task scores it."
ABSORPTION = {
    "absorption_fraction_score": "absorption_fraction",
    "full_absorption_score": "full_absorption",
    "num_split_features": "splits",
}
"Figure after `mean_` and `std_dev_`, and our metric."


def saebench_results(records: Sequence[Record]) -> dict[str, str]:
    """JSON texts by file: `core/NAME_custom_sae_eval_results.json` and the same of the other evaluations.

    SaebenchError where records are of several sites, data or settings: the layout has one file an SAE.
    """
    scored = _one_protocol([r for r in records if r.status == "ok"])
    probe = scored.get("logistic", {}).get("sparse_probing")
    out: dict[str, str] = {}
    for name, of in sorted(scored.items()):
        if next(iter(of.values())).subject.kind != "sae":
            continue
        found = {
            "core": _core(of),
            "sparse_probing": _sparse_probing(of.get("sparse_probing"), probe),
            "absorption_first_letter": _absorption(of.get("absorption")),
        }
        for kind, content in found.items():
            if content is not None:
                path = f"{kind}/{safe_name(name)}_{SAE_ID}_eval_results.json"
                if path in out:
                    path = path.replace(f"_{SAE_ID}", f"_{digest(name)[:6]}_{SAE_ID}")
                out[path] = json.dumps({"eval_type_id": kind, **content}, indent=2, allow_nan=False) + "\n"
    return out


def _one_protocol(records: Sequence[Record]) -> dict[str, dict[str, Record]]:
    """{subject: {task: its newest record}} of the newest version of each task."""
    if len(of := site_titles(records)) > 1:
        titles = " | ".join(sorted(of.values()))
        raise SaebenchError(f"format saebench has one site a folder, and these records are of several: {titles}")
    version = {
        name: max(r.task.version for r in records if r.task.name == name) for name in {r.task.name for r in records}
    }
    out: dict[str, dict[str, Record]] = {}
    for task, newest in version.items():
        shown = [r for r in records if (r.task.name, r.task.version) == (task, newest)]
        if len({digest([r.settings, r.seeds]) for r in shown}) > 1:
            raise SaebenchError(
                f"format saebench has one file an SAE, and records of {task} have several settings or seeds"
            )
        for name, record in newest_by_subject(shown).items():
            out.setdefault(name, {})[task] = record
    return out


def _frame(
    record: Record, metrics: Mapping[str, object], details: Sequence[object], config: dict[str, object]
) -> dict[str, object]:
    """The keys that all evaluations share.

    Args:
        record: whose subject and run are named.
        metrics: figures by category.
        details: flat objects.
        config: fields of the evaluation's own configuration.
    """
    made = record.provenance
    date = datetime.fromisoformat(record.date.replace("Z", "+00:00")).timestamp() if record.date else 0
    own = {"task": record.task.name, "version": record.task.version, "settings": record.settings, "seeds": record.seeds}
    shared = {"model_name": record.site.model, "llm_dtype": record.site.dtype, **config}
    return {
        "eval_config": {**shared, "saebench_lite": {**own, "data": asdict(record.data), "site": asdict(record.site)}},
        "eval_id": str(uuid.uuid5(uuid.NAMESPACE_URL, record.digest)),
        "datetime_epoch_millis": round(1000 * date),
        "eval_result_metrics": metrics,
        "eval_result_details": list(details),
        "sae_bench_commit_hash": f"saebench-lite {__version__} {made.code if made and made.code else 'unknown'}",
        "sae_lens_id": SAE_ID,
        "sae_lens_release_id": record.subject.name,
        "sae_lens_version": None,
        "sae_cfg_dict": {**record.subject.meta, "model_name": record.site.model, "hook_name": record.site.hook},
        "eval_result_unstructured": None,
    }


def _core(of: Mapping[str, Record]) -> dict[str, object] | None:
    """From a subject's records of reconstruction and ce_delta; None without both."""
    record = of.get("reconstruction") or of.get("ce_delta")
    if record is None:
        return None

    def value(source: tuple[str, str] | None) -> float:
        scores = of[source[0]].scores if source and source[0] in of else {}
        return scores[source[1]].value if source and source[1] in scores else UNKNOWN

    metrics = {category: {name: value(source) for name, source in wanted.items()} for category, wanted in CORE.items()}
    return _frame(record, metrics, [], {})


def _sparse_probing(record: Record | None, probe: Record | None) -> dict[str, object] | None:
    """From mean-pooled accuracies.

    Args:
        record: of the SAE; None: it has none.
        probe: of the logistic baseline, whose accuracy stands for the probe on the model's own activations.
    """
    names = {k: f"accuracy_k{k}_mean" for k in KS}
    known = {k: name for k, name in names.items() if record is not None and name in record.scores}
    if record is None or not known:
        return None
    of_probe = next((name for name in names.values() if probe is not None and name in probe.scores), None)
    llm = probe.scores[of_probe].value if probe is not None and of_probe else UNKNOWN
    by_unit = {k: _by_unit(record, name) for k, name in known.items()}
    of_llm = _by_unit(probe, of_probe) if probe is not None and of_probe else {}
    units = list(dict.fromkeys(unit for values in by_unit.values() for unit in values))
    details = [
        {"dataset_name": f"{unit}_results", "llm_test_accuracy": of_llm.get(unit, UNKNOWN), "sae_test_accuracy": None}
        | {f"sae_top_{k}_test_accuracy": by_unit[k].get(unit) if k in by_unit else None for k in KS}
        for unit in units
    ]
    sae = {"sae_test_accuracy": None}
    sae |= {f"sae_top_{k}_test_accuracy": record.scores[known[k]].value if k in known else None for k in KS}
    config: dict[str, object] = {"dataset_names": units, "k_values": list(known)}
    config |= {"random_seed": record.seeds[0]} if record.seeds else {}
    return _frame(record, {"llm": {"llm_test_accuracy": llm}, "sae": sae}, details, config)


def _absorption(record: Record | None) -> dict[str, object] | None:
    """From absorption of first letters; None for another hierarchy."""
    if record is None or not set(ABSORPTION.values()) <= set(record.scores):
        return None
    of = {name: _by_unit(record, metric) for name, metric in ABSORPTION.items()}
    if any(len(unit) != 1 for values in of.values() for unit in values):
        return None
    mean = {f"mean_{name}": record.scores[metric].value for name, metric in ABSORPTION.items()}
    mean |= {f"std_dev_{name}": _sd(list(values.values())) for name, values in of.items()}
    fraction, full, splits = of.values()
    details = [
        {
            "first_letter": letter,
            "mean_absorption_fraction": fraction[letter],
            "full_absorption_rate": full.get(letter, UNKNOWN),
            "num_full_absorption": UNKNOWN,
            "num_probe_true_positives": UNKNOWN,
            "num_split_features": round(splits.get(letter, UNKNOWN)),
        }
        for letter in fraction
    ]
    return _frame(record, {"mean": mean}, details, {"random_seed": record.seeds[0]} if record.seeds else {})


def _by_unit(record: Record, metric: str) -> dict[str, float]:
    """Means over seeds of the units with a value."""
    named = unit_scores(record, metric)
    if named is None:
        return {}
    means = zip(named.units, collapse(*named.scores)[0], strict=True)
    return {unit: rounded(float(v)) or 0.0 for unit, v in means if np.isfinite(v)}


def _sd(values: Sequence[float]) -> float:
    """Sample standard deviation over letters; unknown of less than two."""
    return UNKNOWN if len(values) < 2 else float(np.std(values, ddof=1))
