from __future__ import annotations

from itertools import pairwise

import pandas as pd
import pytest
from scipy.stats import norm

from robustbench_ens.analysis.compare import WORST
from robustbench_ens.analysis.resolution import (
    images_needed,
    resolution_warnings,
    smallest_difference,
    unequal_tiers,
)


def worst(*rows):
    return pd.DataFrame([{"dataset": "digits", "ensemble": name, "seed": 0, "accuracy": rate} for name, rate in rows])


def pair(better, worse, difference, **facts):
    plain = {"dataset": "digits", "protocol": WORST, "seeds": 1, "n": 100, "spread": 0.4, "supported": False}
    return {
        **plain,
        "better": better,
        "worse": worse,
        "difference": difference,
        "p_images": 0.5,
        "p_seeds": None,
        **facts,
    }


def test_images_needed_by_hand():
    # Connor (1987): n = (z_alpha/2 sqrt(psi) + z_beta sqrt(psi - d^2))^2 / d^2, with psi = spread^2 + d^2.
    difference, spread = 0.05, 0.3
    expected = (norm.isf(0.025) * (spread**2 + difference**2) ** 0.5 + norm.isf(0.2) * spread) ** 2 / difference**2
    assert images_needed(difference, spread) == pytest.approx(expected)
    assert smallest_difference(round(expected), difference, spread) == pytest.approx(difference, rel=0.01)


def test_neighbours_that_are_not_told_apart():
    order = worst(("a", 0.5), ("b", 0.45), ("c", 0.1))
    tested = pd.DataFrame(
        [pair("a", "b", 0.05), pair("b", "c", 0.35, supported=True), pair("a", "c", 0.4, supported=True)]
    )
    (text,) = resolution_warnings(order, tested)
    assert "too few images" in text
    assert "a and b, 5.0 points apart (n = 100 would show about 11.3; this difference needs about 510 images)" in text
    assert "and c" not in text


def test_a_tie_and_a_supported_order_are_no_warning():
    tested = pd.DataFrame([pair("a", "b", 0.0), pair("b", "c", 0.3, supported=True)])
    assert resolution_warnings(worst(("a", 0.5), ("b", 0.5), ("c", 0.2)), tested) == []


def test_seeds_may_be_what_is_lacking():
    tested = pd.DataFrame([pair("a", "b", 0.3, seeds=2, p_images=0.001, p_seeds=0.2)])
    (text,) = resolution_warnings(worst(("a", 0.5), ("b", 0.2)), tested)
    assert "too few training seeds" in text and "a and b" in text


def test_many_neighbours_are_counted_not_listed():
    names = "abcdefghij"
    tested = pd.DataFrame([pair(one, other, 0.01) for one, other in pairwise(names)])
    (text,) = resolution_warnings(worst(*((name, 1 - 0.01 * i) for i, name in enumerate(names))), tested)
    assert text.endswith("; and 4 more.")


def test_worst_cases_over_different_protocols():
    rows = worst(("a", 0.5), ("b", 0.4)).assign(protocols=[("p", "q"), ("p",)])
    (text,) = unequal_tiers(rows)
    assert "over different protocols (1 to 2 of 2); those of b may be too high" in text
    assert unequal_tiers(rows.assign(protocols=[("p",), ("p",)])) == []


def test_seeds_under_different_protocols_are_told():
    rows = worst(("a", 0.5), ("a", 0.4), ("b", 0.4)).assign(seed=[0, 1, 0])
    (text,) = unequal_tiers(rows.assign(protocols=[("p", "q"), ("p",), ("p", "q")]))
    assert "over different protocols (1 to 2 of 2); those of a may be too high" in text
