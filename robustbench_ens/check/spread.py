"""The statistical tests behind the check, as pure functions of arrays with one element per cell.

Notation: k pinned seeds with rates r_1 .. r_k of mean m and standard deviation s; n images; a fresh rate f.
v = q (1 - q) / n is the binomial variance of a rate at q, which is m kept one image away from 0 and from 1.

*Spread.* Is f a draw like the pinned ones? A prediction test on k seeds alone has k - 1 degrees of freedom. Corrected
for a hundred cells, it requires a deviation of 10 s at k = 5 and misses changes that anyone would call large. But cells
have similar values of s^2 / v, so their variances are moderated, as is usual for many small samples (Smyth 2004,
"Linear models and empirical Bayes methods", Section 6.2): with d = k - 1 and a prior dispersion phi_0 worth d_0
degrees of freedom, both fitted to all cells,

    phi = (d_0 phi_0 + d s^2 / v) / (d_0 + d),    T = (f - m) / sqrt(phi v (1 + 1 / k))  ~  t with d_0 + d degrees.

Cells of one ensemble under one protocol move together, so there are fewer independent cells than the fit counts. Here
we deviate from the paper: d_0 + d is at most d times the number of (protocol, ensemble) pairs.

*Sampling.* Could n images alone explain f? The p-value is twice the smaller tail of Binomial(n, q) at n f. It is exact
and therefore valid even if a handful of images decides. The p-value of a cell is the larger of the two, so a cell moves
only if both tests reject.

*Measured numbers.* For a mean over images that is not a rate, v is the mean of the seeds' squared standard errors. The
sampling p-value is the two-sided normal tail of (f - m) / sqrt(v).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

from robustbench_ens.analysis.rounding import COUNT_VARIANCE, FLIP_RATE

Floats = npt.NDArray[np.float64]

ROUNDING = 1e-3
"""The relative change of a measured number that rounding may cause while the weights are unchanged."""
# With fewer cells, the variance of their logs is too noisy to fit a prior to.
_FEWEST_CELLS = 3


@dataclass(frozen=True)
class Spread:
    """The distribution of each cell over the pinned seeds, in arrays of shape (cells,)."""

    mean: Floats
    sd: Floats
    low: Floats
    high: Floats
    seeds: Floats
    variance: Floats  # moderated, of one seed's rate
    degrees: Floats


def _kept_inside(rate: Floats, images: Floats) -> Floats:
    """Clip rates to one image away from 0 and from 1, where the binomial variance would vanish."""
    return np.clip(rate, 1 / images, 1 - 1 / images)


def fit_prior(dispersion: Floats, degrees: Floats) -> tuple[float, float]:
    """Fit the prior in ``dispersion ~ phi_0 F(degrees, d_0)`` by the moments of its log.

    Returns:
        d_0 and phi_0. A d_0 of 0 means too few cells to fit a prior; infinity means that all cells share one
        dispersion.
    """
    if len(dispersion) < _FEWEST_CELLS:
        return 0.0, 1.0
    log = np.log(dispersion) - special.digamma(degrees / 2) + np.log(degrees / 2)
    excess = float(log.var(ddof=1) - special.polygamma(1, degrees / 2).mean())
    # The cells scatter no more than sampling explains: the trigamma equation below has no solution.
    if excess < 1e-8:
        return np.inf, float(np.average(dispersion, weights=degrees))
    half = optimize.brentq(lambda x: special.polygamma(1, x) - excess, 1e-9, 1e9)
    return 2 * half, float(np.exp(log.mean() + special.digamma(half) - np.log(half)))


def fit_spread(rates: list[Floats], images: list[float], groups: int) -> Spread:
    """Return the moderated spread of every cell of one family.

    Args:
        rates: for each cell the pinned seeds' rates in [0, 1], of at least two seeds.
        images: for each cell the number of images behind one rate.
        groups: the number of independent sets of cells, which is the number of (protocol, ensemble) pairs.
    """
    n = np.asarray(images, dtype=float)
    mean = np.array([float(np.mean(rate)) for rate in rates])
    inside = _kept_inside(mean, n)
    # At 0 or 1 there is no spread to learn from.
    return _moderated(rates, inside * (1 - inside) / n, COUNT_VARIANCE / n**2, inside == mean, groups)


def fit_measured(values: list[Floats], errors: list[Floats], groups: int) -> Spread:
    """Return the moderated spread of every measured number of one family.

    Args:
        values: for each cell the pinned seeds' means over images, of at least two seeds.
        errors: for each cell their standard errors.
        groups: see :func:`fit_spread`.
    """
    floor = measured_floor(np.array([float(np.mean(value)) for value in values]))
    sampling = np.array([float(np.mean(error**2)) for error in errors])
    return _moderated(values, np.maximum(sampling, floor), floor, sampling > floor, groups)


def no_spread(values: list[Floats]) -> Spread:
    """Return the spread of a paired baseline, which has no moderated variance: it may hold a single seed per cell."""
    mean, low, high = (np.array([float(reduce(value)) for value in values]) for reduce in (np.mean, np.min, np.max))
    sd = np.array([float(np.std(value, ddof=1)) if len(value) > 1 else 0.0 for value in values])
    seeds = np.array([float(len(value)) for value in values])
    unknown = np.full(len(values), np.nan)
    return Spread(mean, sd, low, high, seeds, variance=unknown, degrees=unknown)


def measured_floor(mean: Floats) -> Floats:
    """Return the smallest variance that a measured number may have, which is that of rounding."""
    return np.maximum((ROUNDING * mean) ** 2, np.finfo(float).tiny)


def _moderated(values: list[Floats], sampling: Floats, floor: Floats, informative: Any, groups: int) -> Spread:
    """Return the moderated spread of cells.

    Args:
        values: for each cell those of the pinned seeds.
        sampling: v, ``(cells,)``.
        floor: the smallest variance over seeds that is allowed, ``(cells,)``.
        informative: flags of the cells that the prior is fitted to, ``(cells,)``.
        groups: see :func:`fit_spread`.
    """
    mean, sd, low, high = (
        np.array([float(reduce(value)) for value in values])
        for reduce in (np.mean, lambda value: np.std(value, ddof=1), np.min, np.max)
    )
    seeds = np.array([float(len(value)) for value in values])
    dispersion = np.maximum(sd**2, floor) / sampling
    degrees = seeds - 1
    prior_degrees, prior = fit_prior(dispersion[informative], degrees[informative])
    # Our deviation from the paper: cells of one pair are not independent, so d_0 + d <= d * groups.
    added = np.minimum(prior_degrees, degrees * (groups - 1))
    moderated = (added * prior + degrees * dispersion) / (added + degrees)
    return Spread(mean, sd, low, high, seeds, moderated * sampling, added + degrees)


def p_spread(fresh: Floats, spread: Spread) -> Floats:
    """Return the two-sided p-value of ``fresh`` (cells,) as one more draw beside the pinned seeds."""
    deviation = np.abs(fresh - spread.mean) / np.sqrt(spread.variance * (1 + 1 / spread.seeds))
    return np.asarray(2 * stats.t.sf(deviation, spread.degrees))


def p_sampling(fresh: Floats, images: Floats, mean: Floats) -> Floats:
    """Return the two-sided exact binomial p-value of ``round(fresh * images)`` images against the pinned mean rate."""
    count = np.round(fresh * images)
    inside = _kept_inside(mean, images)
    tails = np.minimum(stats.binom.cdf(count, images, inside), stats.binom.sf(count - 1, images, inside))
    return np.asarray(np.minimum(1, 2 * tails))


def p_measured_sampling(fresh: Floats, mean: Floats, error: Floats) -> Floats:
    """Return the two-sided normal p-value of ``fresh`` against the pinned mean with the pinned standard error."""
    return np.asarray(2 * stats.norm.sf(np.abs(fresh - mean) / np.sqrt(np.maximum(error**2, measured_floor(mean)))))


def p_exact(fresh: Floats, pinned: Floats) -> Floats:
    """Return 1 for each measured number that equals the pinned one within :data:`ROUNDING`, and 0 for the others."""
    return np.where(np.abs(fresh - pinned) <= ROUNDING * np.abs(pinned) + np.finfo(np.float32).eps, 1.0, 0.0)


def p_flips(flips: Floats, units: Floats) -> Floats:
    """Return the p-value of at least ``flips`` flips in ``units`` outcomes if rounding flips ``FLIP_RATE`` of them."""
    return np.asarray(stats.binom.sf(flips - 1, units, FLIP_RATE))
