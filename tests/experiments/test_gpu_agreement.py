"""The page that holds scores of a CPU to records of a GPU: what is within the tolerance, what cannot be compared."""

import json

from tokenizers import Tokenizer

from saebench_lite.bundled import ROOT
from tests.experiments import gpu_agreement
from tests.experiments.gpu_agreement import page

PICO = ROOT / "pico"
EV, F1 = ("a", "reconstruction", "explained_variance"), ("a", "concept_detection", "f1")
AUROC, OLD = ("a", "sparse_probing", "auroc_k1_mean"), ("a", "sparse_probing", "rare_f1_mean")


def test_scores_beyond_a_tolerance_and_metrics_that_changed_are_told_apart():
    gpu = {EV: 0.8, F1: 0.9, AUROC: 0.7, OLD: 0.5}
    then = {EV: 0.8009, F1: 0.9, AUROC: 0.73, OLD: 0.5}
    now = {EV: 0.8011, F1: 0.5, AUROC: 0.7}
    lines = page(gpu, then, now, "command").splitlines()
    assert [line for line in lines if line.startswith("- ")] == [
        "- reconstruction, by the same code: 1 of 1 scores within the tolerance; furthest explained_variance of a,"
        " 9.0e-04 where 1.0e-03 is allowed",
        "- concept_detection, by the same code: 1 of 1 scores within the tolerance; furthest f1 of a, 0.0e+00 where"
        " 2.0e-02 is allowed",
        "- sparse_probing, by the same code: 1 of 2 scores within the tolerance; furthest auroc_k1_mean of a, 3.0e-02"
        " where 2.0e-02 is allowed",
        "- reconstruction, by today's code: 0 of 1 scores within the tolerance; furthest explained_variance of a,"
        " 1.1e-03 where 1.0e-03 is allowed",
        "- sparse_probing, by today's code: 1 of 1 scores within the tolerance; furthest auroc_k1_mean of a, 0.0e+00"
        " where 2.0e-02 is allowed",
    ]
    (old,) = (line for line in lines if "rare_f1_mean" in line)
    assert "not among today's metrics" in old


def test_the_models_tokenizer_puts_bos_before_each_text(tmp_path, monkeypatch):
    source, bare = tmp_path / "model", {"type": "TemplateProcessing", "pair": [], "special_tokens": {}}
    source.mkdir()
    whole = json.loads((PICO / "tokenizer.json").read_text())
    bare["single"] = [{"Sequence": {"id": "A", "type_id": 0}}]
    (source / "tokenizer_config.json").write_text('{"unk_token": "<|endoftext|>"}')
    (source / "tokenizer.json").write_text(json.dumps({**whole, "post_processor": bare}))
    monkeypatch.setattr(gpu_agreement, "smollm2", lambda: source)
    without = Tokenizer.from_file(str(source / "tokenizer.json")).encode("a word").ids
    folder = gpu_agreement.model_with_bos(tmp_path / "work")
    assert Tokenizer.from_file(str(folder / "tokenizer.json")).encode("a word").ids == [0, *without]
    assert json.loads((folder / "tokenizer_config.json").read_text())["bos_token"] == "<|endoftext|>"
