"""Bootstrap intervals over images, for quantities that are no plain share of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RESAMPLES = 4000


def mean_interval(values: npt.ArrayLike, confidence: float) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over images; the same values, the same interval.

    Images are drawn with replacement. The mean of such a draw depends only on how often each distinct value comes,
    which is multinomial: the distribution of ``scipy.stats.bootstrap``, in time that does not grow with the images.

    Args:
        values: one number per image, few of them distinct; at least one.
        confidence: of the interval, such as 0.95.
    """
    distinct, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    size = counts.sum()
    means = np.random.default_rng(0).multinomial(size, counts / size, size=RESAMPLES) @ distinct / size
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
