"""The effects of rounding on outcomes, below which no difference is a finding."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FLIP_RATE = 0.01
"""The share of outcomes that rounding (another device or library version) may flip with unchanged weights."""

COUNT_VARIANCE = 1 / 12
"""The smallest variance over seeds in images^2, because counts of images are integers."""

ROUNDING = 1e-9
"""The difference below which sums of probabilities are equal."""


def whole_numbers(values: npt.ArrayLike) -> Any:
    """Return ``values`` as integers if all are whole. Counts are not if answers are random."""
    found = np.asarray(values)
    return found.astype(np.int64) if (found == np.round(found)).all() else found
