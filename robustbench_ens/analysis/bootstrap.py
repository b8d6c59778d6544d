"""Bootstrap intervals over images, for means that are not proportions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RESAMPLES = 4000


def mean_interval(values: npt.ArrayLike, confidence: float) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean over images, which is deterministic.

    Images are drawn with replacement. The mean of a draw depends only on the count of each distinct value, which is
    multinomial. This gives the distribution of ``scipy.stats.bootstrap`` in time that does not grow with the images.

    Args:
        values: one number per image, few of them distinct; at least one.
        confidence: confidence level, such as 0.95.
    """
    distinct, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    size = counts.sum()
    means = np.random.default_rng(0).multinomial(size, counts / size, size=RESAMPLES) @ distinct / size
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
