"""Every figure of the five tasks on pico, held to a float64 computation that shares no code with the suite."""

import ast
from pathlib import Path

import pytest

from saebench_lite.bundled import sae_folders
from tests.conftest import HOOK
from tests.reference.recompute import TASKS, Comparison, Sizes, compare, page

SIZES = Sizes(concepts=3, texts=40, ce_tokens=300, words=600, examples=1)


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> Comparison:
    (folder,) = (f for f in sae_folders() if f.name == "topk_1024_l0_32")
    return compare("pico", str(folder), HOOK, SIZES, tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("task", TASKS)
def test_figures_agree(compared, task):
    worst = compared.largest(task)
    assert worst.difference <= 1e-4, worst


def test_the_same_latents_are_picked(compared):
    assert len(compared.picked) == 3 * 7  # a concept: five of sparse probing, two of concept detection
    assert not compared.other_latents


def test_figures_say_something(compared):
    by_name = {(c.task, c.metric): c.reference for c in compared.figures}
    assert by_name["reconstruction", "l0"] == 32
    assert 0.8 < by_name["reconstruction", "explained_variance"] < 1
    assert by_name["ce_delta", "ce_clean"] < by_name["ce_delta", "ce_spliced"] < by_name["ce_delta", "ce_zero"]
    assert 0.5 < by_name["sparse_probing", "auroc_k5_mean"] <= 1
    assert 0 < by_name["absorption", "absorption_fraction"] < 1


def test_the_page_has_every_figure_and_says_what_differs_most(compared):
    text = page(compared, "the command")
    assert text.count("\n| ") == len(compared.figures) + 1
    assert f"{compared.largest('ce_delta').difference:.2e}" in text
    assert "21 picked, 0 not the same" in text


def test_the_reference_shares_no_code_with_the_suite():
    files = sorted((Path(__file__).parent / "independent").glob("*.py"))
    assert len(files) == 6
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
                assert not [name for name in names if name.split(".")[0] == "saebench_lite"]
