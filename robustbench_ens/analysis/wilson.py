"""Wilson's interval of a proportion (Journal of the American Statistical Association 22, 1927)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Proportions = npt.NDArray[np.float64]


def wilson_interval(counts: npt.ArrayLike, sizes: npt.ArrayLike, confidence: float) -> tuple[Proportions, Proportions]:
    """Return the ends of the interval of ``counts / sizes``, both ``(proportions,)`` in [0, 1].

    statsmodels' ``proportion_confint`` returns the same, bit by bit, but takes more than a second to import.

    Args:
        counts: ``(proportions,)``, in [0, size]; they need not be integers.
        sizes: ``(proportions,)``, positive.
        confidence: confidence level, such as 0.95.
    """
    n = np.asarray(sizes)
    rate = np.asarray(counts) / n
    z = -ndtri((1 - confidence) / 2)
    scale = 1 + z**2 / n
    middle = (rate + z**2 / (2 * n)) / scale
    half = z * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2)) / scale
    return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)
