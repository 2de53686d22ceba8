"""What a task hands over: values, weights and standard errors by unit and seed."""

import numpy as np
import pytest

from saebench_lite.api.task import Scores
from saebench_lite.errors import SaebenchError


def test_errors_stand_beside_their_values():
    scores = Scores()
    scores.add("a", 0.5, unit="u", seed=1, error=0.012345)
    scores.add("a", 0.6, unit="v", seed=0, error=float("nan"))
    scores.add("a", 0.7, unit="v", seed=1, error=0.0)
    scores.add("b", 0.7, unit="v")
    units, seeds, values, _ = scores.table("a")
    assert (units, seeds) == (["u", "v"], [0, 1])
    np.testing.assert_array_equal(values, [[np.nan, 0.5], [0.6, 0.7]])
    np.testing.assert_array_equal(scores.errors("a"), [[np.nan, 0.0123], [np.nan, 0.0]])
    assert scores.errors("b") is None


@pytest.mark.parametrize("error", [-0.1, float("inf")])
def test_an_error_that_is_no_size_is_refused(error):
    with pytest.raises(SaebenchError, match="standard error"):
        Scores().add("a", 0.5, unit="u", error=error)
