"""SAE scores in the layout of Every Eval Ever, one JSON file an SAE, site and data.

Schema: `eval.schema.json` 0.3.0 of https://github.com/evaleval/every_eval_ever (arXiv:2606.14516). The SAE stands where
the schema has the model; the language model and the hook are among its details.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Literal

from saebench_lite.files import digest, safe_name
from saebench_lite.records.arrays import protocol_key
from saebench_lite.records.record import Record
from saebench_lite.records.selection import newest_by_subject
from saebench_lite.report.markup import one_line
from saebench_lite.report.numbers import ends, interval_over
from saebench_lite.report.sections import l0_of
from saebench_lite.version import __version__

SCHEMA_VERSION = "0.3.0"
NAME = "saebench-lite"
NOBODY = "local"
"In the place of an owner on the hub, where an SAE is from a folder or an object."


def eee_results(records: Sequence[Record], metrics: Literal["headline", "all"] = "headline") -> dict[str, str]:
    """JSON texts by path in the layout of its datastore: `data/saebench-lite/OWNER/SAE/UUID.json`.

    Of each task and setting the newest record counts. Metrics that are best at 1 or have no direction are left out,
    since the schema knows `lower_is_better` alone. The same records give the same texts: identifiers are digests, and
    times are those of the records.

    Args:
        records: of any number of sites.
        metrics: headline: those that tasks show unasked; all: all scored.
    """
    protocols: dict[str, list[Record]] = {}
    for r in records:
        if r.subject.kind == "sae" and r.status == "ok":
            protocols.setdefault(protocol_key(r), []).append(r)
    logs: dict[tuple[str, str], list[Record]] = {}
    for group in protocols.values():
        for name, r in newest_by_subject(group).items():
            logs.setdefault((name, digest([name, asdict(r.site), r.data.digest])), []).append(r)
    out: dict[str, str] = {}
    for (_, key), of in sorted(logs.items()):
        of = sorted(of, key=lambda r: (r.task.name, r.digest))
        results = [_result(r, metric) for r in of for metric in _shown(r, metrics)]
        if results:
            owner, sae = _identity(of[0])
            file = uuid.UUID(hex=key + digest([key]), version=4)  # the schema asks for that version
            out[f"data/{NAME}/{owner}/{sae}/{file}.json"] = json.dumps(_log(of, results, key), indent=2) + "\n"
    return out


def _shown(r: Record, metrics: Literal["headline", "all"]) -> list[str]:
    known = list(r.scores) if metrics == "all" else [m for m in r.task.shown if m in r.scores]
    return [m for m in known if r.task.metrics[m].better in ("higher", "lower")]


def _log(of: Sequence[Record], results: Sequence[Mapping[str, object]], key: str) -> dict[str, object]:
    """The whole file.

    Args:
        of: records of one SAE, site and data.
        results: what they scored.
        key: digest of the SAE's name, the site and the data.
    """
    first, newest = of[0], max(of, key=lambda r: r.date or "")
    created = str(round(datetime.fromisoformat(newest.date.replace("Z", "+00:00")).timestamp())) if newest.date else "0"
    made = newest.provenance
    owner, sae = _identity(first)
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"{NAME}_{key[:8]}/{owner}/{sae}/{created}",
        **({"evaluation_timestamp": newest.date} if newest.date else {}),
        "retrieved_timestamp": created,
        "source_metadata": {
            "source_name": NAME,
            "source_type": "evaluation_run",
            "source_organization_name": "unknown",
            "evaluator_relationship": "other",
        },
        "eval_library": {
            "name": NAME,
            "version": newest.task.package_version if newest.task.package == NAME else __version__,
            "additional_details": _texts({"code": made.code, "packages": made.packages} if made else {}),
        },
        "model_info": {
            "name": one_line(first.subject.name),
            "id": f"{owner}/{sae}",
            "developer": owner,
            "additional_details": {
                "deployment_type": "self_deployed",
                "model_availability": "unknown" if owner == NOBODY else "open_weights",
                **_texts(_facts(of)),
            },
        },
        "evaluation_results": list(results),
    }


def _facts(of: Sequence[Record]) -> dict[str, object]:
    """What the subject is: an SAE of a model's hook."""
    r = of[0]
    site = {f"language_model_{k}": v for k, v in asdict(r.site).items() if k not in ("model", "hook")}
    return {
        "kind": "sparse autoencoder",
        "language_model": r.site.model,
        "hook": r.site.hook,
        **site,
        "fingerprint": r.subject.fingerprint,
        "architecture": r.subject.meta.get("architecture"),
        "d_sae": r.subject.meta.get("d_sae"),
        "l0": l0_of(of).get(r.subject.name),
        "revision": r.subject.meta.get("revision"),
    }


def _identity(r: Record) -> tuple[str, str]:
    """(owner, name) as parts of a path: of an SAE from the hub those of its repository, with its place in there."""
    repo = r.subject.meta.get("repo")
    if not isinstance(repo, str) or repo.count("/") != 1:
        return NOBODY, _part(r.subject.name)
    owner, name = repo.split("/")
    place = r.subject.meta.get("id")
    return _part(owner), _part(f"{name}_{place}" if isinstance(place, str) else name)


def _part(name: str) -> str:
    return safe_name(name).rstrip(".") or "_"


def _result(r: Record, metric: str) -> dict[str, object]:
    score, card = r.scores[metric], r.task.metrics[metric]
    low, high = ends(r, metric)
    interval = {"lower": low, "upper": high, "confidence_level": 0.95, "method": f"over {interval_over(r, metric)}"}
    uncertainty: dict[str, object] = {"num_samples": score.n}
    uncertainty |= {"confidence_interval": interval} if low is not None and high is not None else {}
    return {
        "evaluation_result_id": f"{r.digest}/{metric}",
        "evaluation_name": f"{r.task.package}.{r.task.name}",
        "source_data": {
            "dataset_name": one_line(r.data.name),
            "source_type": "other",
            "additional_details": _texts(asdict(r.data)),
        },
        **({"evaluation_timestamp": r.date} if r.date else {}),
        "metric_config": {
            "evaluation_description": one_line(card.meaning),
            "metric_id": f"{r.task.package}.{r.task.name}.{metric}",
            "metric_name": metric,
            **({"metric_unit": card.unit} if card.unit else {}),
            "lower_is_better": card.better == "lower",
            "score_type": "continuous",
            "min_score": "-Infinity" if card.lower_bound is None else card.lower_bound,
            "max_score": "Infinity" if card.upper_bound is None else card.upper_bound,
            "additional_details": _texts({"construct": card.construct, "chance": card.chance}),
        },
        "score_details": {
            "score": score.value,
            "details": _texts({"task_version": r.task.version, "settings": r.settings, "seeds": r.seeds}),
            "uncertainty": uncertainty,
        },
    }


def _texts(facts: Mapping[str, object]) -> dict[str, str]:
    """Facts that are known, as texts, which is all that the schema takes; what is no text as JSON."""
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in facts.items() if v is not None}
