"""Student's t against scipy.stats, and far out in the tail."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from saebench_lite.stats.student_t import t_quantile, two_sided_p


@pytest.mark.parametrize("df", [1, 2, 3, 4, 7, 30, 113, 1001])
def test_students_t_is_scipys(df):
    t = np.array([0.0, 0.1, 1.0, -2.0, 5.0, 40.0])
    assert two_sided_p(t, df) == pytest.approx(2 * scipy_stats.t.sf(np.abs(t), df), rel=1e-9, abs=0)
    for q in (0.5, 0.9, 0.975, 0.9999):
        assert t_quantile(q, df) == pytest.approx(scipy_stats.t.ppf(q, df), rel=1e-9, abs=1e-12)


def test_a_tail_smaller_than_machine_precision_keeps_its_digits():
    """The density's asymptotic series, integrated numerically: 1.5e-20, where 1 - P(|T| < 40) is 0 or 1.1e-16."""
    assert float(two_sided_p(40.0, 20)) == pytest.approx(1.5e-20, rel=0.05)
    assert float(two_sided_p(np.inf, 20)) == 0.0
