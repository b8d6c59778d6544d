from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from robustbench_ens.analysis.holm import holm


def test_by_hand() -> None:
    corrected = holm([0.04, 0.01, 0.03], 0.05)
    assert corrected.rejected.tolist() == [False, True, False]
    assert corrected.adjusted == pytest.approx([0.06, 0.03, 0.06])


def test_of_no_tests_there_is_nothing() -> None:
    corrected = holm([], 0.05)
    assert corrected.rejected.tolist() == []
    assert corrected.adjusted.tolist() == []


@pytest.mark.slow
@settings(max_examples=30)  # statsmodels takes a tenth of a second each time
@given(
    st.lists(st.floats(0, 1) | st.sampled_from([0.0, 0.01, 0.05, 1.0]), min_size=1, max_size=20),
    st.sampled_from([0.01, 0.05]),
)
def test_equals_statsmodels_bit_by_bit(p_values: list[float], alpha: float) -> None:
    rejected, adjusted = multipletests(p_values, alpha=alpha, method="holm")[:2]
    corrected = holm(p_values, alpha)
    np.testing.assert_array_equal(corrected.rejected, rejected)
    np.testing.assert_array_equal(corrected.adjusted, adjusted)
