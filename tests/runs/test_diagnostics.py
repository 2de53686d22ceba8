"""What a task of the user's may return, and what a record keeps of its diagnostics."""

import dataclasses

import numpy as np
import pytest
import torch

import saebench_lite as sb
from saebench_lite.runs.evaluate import LISTED, listed
from saebench_lite.tasks.reconstruction import TASK as RECONSTRUCTION
from tests.conftest import HOOK
from tests.runs.test_live import small


def test_small_tensors_become_lists_at_any_depth():
    found = listed({"a": torch.arange(3), "b": [{"c": np.ones((1, 2))}], "d": 1, "e": "text"})
    assert found == {"a": [0, 1, 2], "b": [{"c": [[1.0, 1.0]]}], "d": 1, "e": "text"}


@pytest.mark.parametrize("large", [torch.zeros(LISTED + 1), np.zeros((2, LISTED))])
def test_a_large_tensor_is_refused_by_its_place(large):
    with pytest.raises(sb.SaebenchError, match=r"^diagnostics.deep.codes holds a tensor of shape \[.*; give a summary"):
        listed({"deep": {"codes": large}})


def test_an_evaluate_that_returns_nothing_is_told_so(pico, concepts):
    card = dataclasses.replace(RECONSTRUCTION.card, name="forgetful")
    task = sb.Task(card, RECONSTRUCTION.config, lambda *_: None, lambda *_: None)  # type: ignore[arg-type, return-value]
    (record,) = sb.run(small(), model=pico, hook=HOOK, data=concepts, tasks=task, baselines=[])
    assert (record.status, record.reason) == ("failed", "evaluate returned a NoneType; return Scores")
