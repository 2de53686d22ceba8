"""SAEBench's side, run by the Python that has it: its own evaluations on two SAEs, called as its users call them.

`python -m tests.experiments.peer_seconds.theirs EVAL FOLDER`, in an environment with sae-bench 0.6.0 and an offline
Hub cache in which the language model is (see `inputs`). Of SAEBench's code only the reader of labelled texts is
replaced, by one that reads FOLDER; core's texts are a local dataset, which it opens itself.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.experiments.peer_seconds.clock import Measured, Spent, Timed

MODEL = "pythia-70m-deduped"
"The name under which the model lies in the offline cache: one of those for which TransformerLens has a converter."
LAYER = 2
BATCH = 64
"Texts a batch of the model; SAEBench's own table gives 512 for this name, which takes longer on a CPU."
CORE = {"n_eval_reconstruction_batches": 10, "n_eval_sparsity_variance_batches": 20, "eval_batch_size_prompts": 16}
PROBE_ROWS = {"probe_train_set_size": 1000, "probe_test_set_size": 400}
MIN_LETTERS = 5
"Letters whose true probe must reach F1 0.6; the model, small as it is, has nine, and SAEBench asks for 20."
PACKAGES = ("sae-bench", "sae-lens", "transformer-lens", "torch", "transformers", "datasets", "numpy", "scikit-learn")


def core(saes: Timed, _folder: Path, out: Path) -> Any:
    """All metrics of core, those of latents too, as its own shell script asks for them."""
    main = importlib.import_module("sae_bench.evals.core.main")
    store: Any = importlib.import_module("sae_lens.training.activations_store")
    store.validate_pretokenized_dataset_tokenizer = lambda *_, **__: (
        None
    )  # asks the Hub, which a local dataset is not on
    return main.multiple_evals(
        saes,
        **CORE,
        compute_featurewise_density_statistics=True,
        compute_featurewise_weight_based_metrics=True,
        exclude_special_tokens_from_reconstruction=True,
        dataset="core",  # below the current folder: SAELens looks for a repository of that name too, so no path
        context_size=128,
        output_folder=str(out),
        dtype="float32",
        device="cpu",
    )


def sparse_probing(saes: Timed, folder: Path, out: Path) -> Any:
    """Its default k, on texts read from `folder`."""
    main = importlib.import_module("sae_bench.evals.sparse_probing.main")
    settings = importlib.import_module("sae_bench.evals.sparse_probing.eval_config")
    labelled = json.loads((folder / "probing.json").read_text())

    def local(dataset_name: str, *_sizes: int) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        return labelled[dataset_name]["train"], labelled[dataset_name]["test"]

    main.dataset_utils.get_multi_label_train_test_data = local
    classes = main.dataset_info.chosen_classes_per_dataset
    for name, parts in labelled.items():
        classes[name] = [label for label in classes[name] if label in parts["train"]]
    config = settings.SparseProbingEvalConfig(
        model_name=MODEL, dataset_names=list(labelled), llm_batch_size=BATCH, llm_dtype="float32", **PROBE_ROWS
    )
    return main.run_eval(config, saes, "cpu", str(out), force_rerun=True)


def absorption(saes: Timed, _folder: Path, out: Path) -> Any:
    """Its default settings but the number of letters."""
    main = importlib.import_module("sae_bench.evals.absorption.main")
    settings = importlib.import_module("sae_bench.evals.absorption.eval_config")
    config = settings.AbsorptionEvalConfig(
        model_name=MODEL, llm_batch_size=BATCH, llm_dtype="float32", min_feats_for_eval=MIN_LETTERS
    )
    return main.run_eval(config, saes, "cpu", str(out), force_rerun=True)


EVALS = {"core": core, "sparse_probing": sparse_probing, "absorption": absorption}


def load_saes(folder: Path) -> Timed:
    """The SAEs of FOLDER as SAEBench's own classes."""
    torch = importlib.import_module("torch")
    read = importlib.import_module("safetensors.torch").load_file
    pairs = []
    for where in sorted((folder / "saes").iterdir(), reverse=True):
        meta, tensors = json.loads((where / "meta.json").read_text()), read(where / "sae.safetensors")
        sizes = {"d_in": meta["d_in"], "d_sae": meta["d_sae"], "model_name": MODEL, "hook_layer": LAYER}
        place = {"device": torch.device("cpu"), "dtype": torch.float32}
        if meta["k"]:
            sae = importlib.import_module("sae_bench.custom_saes.topk_sae").TopKSAE(k=meta["k"], **sizes, **place)
        else:
            sae = importlib.import_module("sae_bench.custom_saes.relu_sae").ReluSAE(**sizes, **place)
        weights = {name: tensors[name] for name in ("W_enc", "W_dec", "b_enc", "b_dec")}
        sae.load_state_dict(weights, strict=False)
        sae.cfg.architecture = "topk" if meta["k"] else "standard"
        pairs.append((where.name, sae))
    return Timed(pairs)


def numbers(value: Any) -> dict[str, float]:
    """All numbers of a nested result by their last key."""
    flat: dict[str, float] = {}
    for key, item in value.items():
        flat |= numbers(item) if isinstance(item, dict) else {key: item} if isinstance(item, int | float) else {}
    return flat


def main(name: str, where: str) -> None:
    """Runs one evaluation and writes what it took."""
    folder = Path(where).resolve()
    torch = importlib.import_module("torch")
    importlib.import_module(f"sae_bench.evals.{name}.main")
    saes = load_saes(folder)
    torch.set_num_threads(1)
    work = folder / f"theirs-{name}"
    work.mkdir()
    (work / "core").symlink_to(folder / "core")
    (work / "results").mkdir()  # which absorption does not make itself
    os.chdir(work)  # its artifacts lie below the current folder
    start = Spent.now()
    EVALS[name](saes, folder, work / "results")
    end = Spent.now()
    results = {p.name: json.loads(p.read_text()) for p in (work / "results").glob("*.json")}
    if len(results) != len(saes):
        raise SystemExit(f"SAEBench's {name} wrote {len(results)} results of {len(saes)}: {sorted(results)}")
    first = next(r for file, r in results.items() if file.startswith(saes[0][0]))
    Measured(
        importing=start,
        first=saes.asked[1].since(start),
        further=end.since(saes.asked[1]),
        versions={p: version(p) for p in PACKAGES},
        figures=numbers(first["eval_result_metrics"]),
    ).save(folder / f"theirs-{name}.json")


if __name__ == "__main__":
    main(*sys.argv[1:])
