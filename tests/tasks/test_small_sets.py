"""Data sets with too few texts of a class are left out with a sentence; the others are scored."""

from dataclasses import replace

import numpy as np
import pytest

from saebench_lite import registry
from saebench_lite.api.context import EvalContext
from saebench_lite.errors import NotApplicable
from tests.conftest import HOOK


@pytest.mark.parametrize("name", ["concept_detection", "sparse_probing"])
@pytest.mark.parametrize("part", [False, True])
def test_small_sets_are_left_out_and_named(pico, few_texts, name, part):
    (whole,) = few_texts.datasets
    parts = np.array(["train", "test"] * 24) if part else None
    whole = replace(whole, part=parts)
    small = replace(whole, name="small", positive=np.arange(48) < 1)
    task = registry.get("tasks", name)
    cfg = task.config()
    both = replace(few_texts, datasets=(small, whole), concepts=(small, whole))
    ctx, alone = (
        EvalContext(pico, HOOK, data) for data in (both, replace(few_texts, datasets=(whole,), concepts=(whole,)))
    )
    assert len(task.prepare(ctx, cfg, [1, 2])) == len(task.prepare(alone, cfg, [1, 2])) > 0
    (note,) = [n for n in ctx.notes if "left out" in n]
    assert note.startswith("1 of 2 data sets are left out, with too few texts to split; the first: dataset 'small'")
    assert not [n for n in alone.notes if "left out" in n]
    with pytest.raises(NotApplicable, match=r"^dataset 'small'"):
        task.prepare(EvalContext(pico, HOOK, replace(few_texts, datasets=(small,), concepts=(small,))), cfg, [1])
