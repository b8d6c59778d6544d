from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from robustbench_ens.analysis.bootstrap import mean_interval


def test_it_is_the_bootstrap_of_scipy():
    values = np.random.default_rng(3).choice([-1.0, 0.0, 1.0], p=[0.1, 0.6, 0.3], size=300)
    ours = mean_interval(values, 0.95)
    theirs = bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1))
    assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=0.006)
    assert ours == mean_interval(values, 0.95)


def test_one_value_has_no_width():
    assert mean_interval([0.25] * 10, 0.95) == (0.25, 0.25)
