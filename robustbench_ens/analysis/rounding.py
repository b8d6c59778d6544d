"""What rounding alone may do to outcomes: no difference below it is a finding."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FLIP_RATE = 0.01
"""Share of outcomes that rounding (another device, another library version) may flip with the weights unchanged."""

COUNT_VARIANCE = 1 / 12
"""In images^2: a count of images is whole, so it never tells a smaller variance over seeds than this."""

ROUNDING = 1e-9
"""Below which sums of probabilities are the same."""


def whole_numbers(values: npt.ArrayLike) -> Any:
    """Return ``values`` as integers if all of them are: counts, which are expected ones if answers are random."""
    found = np.asarray(values)
    return found.astype(np.int64) if (found == np.round(found)).all() else found
