"""The statistics of the check: hand-computed values, and by simulation its power and its false alarms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

from robustbench_ens.check.spread import Spread, fit_prior, fit_spread, p_flips, p_sampling, p_spread

FIVE = np.array([0.48, 0.49, 0.50, 0.51, 0.52])  # mean 0.5, variance 2.5e-4


def test_one_cell_is_the_plain_prediction_test() -> None:
    spread = fit_spread([FIVE], [500], groups=1)
    assert spread.mean[0] == pytest.approx(0.5)
    assert spread.sd[0] == pytest.approx(math.sqrt(2.5e-4))
    assert (spread.low[0], spread.high[0], spread.degrees[0]) == (0.48, 0.52, 4)
    t = 0.1 / math.sqrt(2.5e-4 * 1.2)
    assert p_spread(np.array([0.6]), spread)[0] == pytest.approx(2 * stats.t.sf(t, 4))
    assert p_spread(np.array([0.4]), spread)[0] == pytest.approx(2 * stats.t.sf(t, 4))


def test_equal_dispersions_are_pooled_up_to_the_number_of_groups() -> None:
    spread = fit_spread([FIVE, FIVE, FIVE, 1 - FIVE], [500] * 4, groups=3)
    np.testing.assert_allclose(spread.variance, 2.5e-4)  # each agrees with the prior
    np.testing.assert_array_equal(spread.degrees, 3 * 4)


def test_moderated_variance_by_hand() -> None:
    """One group allows no borrowing; without a limit the variance lies between the cell's own and the prior's."""
    rates = [0.5 + scale * (FIVE - 0.5) for scale in (0.2, 0.5, 1, 2, 5)]
    alone = fit_spread(rates, [500] * 5, groups=1)
    np.testing.assert_allclose(alone.variance, [2.5e-4 * scale**2 for scale in (0.2, 0.5, 1, 2, 5)])
    dispersion = alone.variance / (0.25 / 500)
    prior_degrees, prior = fit_prior(dispersion, np.full(5, 4.0))
    assert 0 < prior_degrees < 4
    expected = (prior_degrees * prior + 4 * dispersion) / (prior_degrees + 4) * 0.25 / 500
    np.testing.assert_allclose(fit_spread(rates, [500] * 5, groups=100).variance, expected)


def test_prior_solves_the_moment_equations() -> None:
    rng = np.random.default_rng(0)
    dispersion = 0.7 * stats.f.rvs(9, 6, size=20_000, random_state=rng)
    prior_degrees, prior = fit_prior(dispersion, np.full(20_000, 9.0))
    assert prior_degrees == pytest.approx(6, rel=0.05)
    assert prior == pytest.approx(0.7, rel=0.03)
    excess = np.log(dispersion).var(ddof=1) - special.polygamma(1, 4.5)
    assert special.polygamma(1, prior_degrees / 2) == pytest.approx(excess)


@pytest.mark.parametrize(("cells", "expected"), [(2, (0.0, 1.0)), (5, (math.inf, 0.7))])
def test_prior_without_evidence_and_without_scatter(cells: int, expected: tuple[float, float]) -> None:
    assert fit_prior(np.full(cells, 0.7), np.full(cells, 4.0)) == pytest.approx(expected)


def test_zero_spread_is_floored_by_rounding_to_whole_images() -> None:
    spread = fit_spread([np.full(5, 0.5), np.zeros(5), np.ones(5)], [500] * 3, groups=1)
    np.testing.assert_allclose(spread.variance, 1 / 12 / 500**2)
    assert np.isfinite(p_spread(np.array([0.6, 0.2, 0.2]), spread)).all()


def test_cells_at_zero_and_one_teach_the_others_nothing() -> None:
    rates = [FIVE, 1.1 * FIVE, 0.9 * FIVE, np.zeros(5), np.ones(5)]
    with_them = fit_spread(rates, [500] * 5, groups=4)
    without = fit_spread(rates[:3], [500] * 3, groups=4)
    np.testing.assert_allclose(with_them.variance[:3], without.variance)


def test_sampling_is_twice_the_smaller_binomial_tail() -> None:
    p = p_sampling(np.array([0.9, 0.1, 0.5]), np.full(3, 10.0), np.full(3, 0.5))
    np.testing.assert_allclose(p, [2 * 11 / 1024, 2 * 11 / 1024, 1])


def test_sampling_keeps_one_image_away_from_zero_and_one() -> None:
    """At a pinned rate of 0 of 500, three images are chance: P(X >= 3 | n 500, p 1/500) = 0.080."""
    p = p_sampling(np.array([3 / 500, 497 / 500, 0, 50 / 500]), np.full(4, 500.0), np.array([0, 1, 0, 0]))
    assert p[:2] == pytest.approx([2 * 0.0801] * 2, abs=2e-4)
    assert p[2] == pytest.approx(2 * 0.998**500)
    assert p[3] < 1e-40


def test_flips_against_one_percent() -> None:
    p = p_flips(np.array([0.0, 1, 2]), np.array([500.0, 1, 2]))
    np.testing.assert_allclose(p, [1, 0.01, 0.0001])


def _rates(rng: np.random.Generator, seeds: int, sd_points: float, images: int = 500) -> list[np.ndarray]:
    """Four groups of six eps: one set of images for all seeds, seed effects shared within a group; (eps, seeds)."""
    difficulty = rng.normal(0, 0.06, (images, 1))
    eps = np.linspace(0.05, 0.3, 6)
    groups = []
    for centre in (0.08, 0.14, 0.2, 0.26):
        effect = sd_points / 100 * 0.06 * math.sqrt(2 * math.pi) * rng.normal(size=seeds)
        radius = centre + difficulty + rng.normal(0, 0.03, (images, seeds)) + effect
        groups.append((radius[None] > eps[:, None, None]).mean(1))
    return groups


def _moved(spread: Spread, fresh: np.ndarray, alpha: float = 0.01) -> bool:
    """Whether Holm's correction leaves any cell moved: its first step is Bonferroni's."""
    p = np.maximum(p_spread(fresh, spread), p_sampling(fresh, np.full(len(fresh), 500.0), spread.mean))
    return bool(p.min() * len(p) < alpha)


@pytest.mark.parametrize(("seeds", "least_power"), [(5, 0.97), (10, 0.99)])
def test_power_and_false_alarms(seeds: int, least_power: float) -> None:
    """Ten points under one protocol are caught, either way; untouched reruns pass. Seeds scatter by 1.5 to 2 points."""
    rng = np.random.default_rng(2)
    alarms, caught, scatter = [], [], []
    for _ in range(60):
        groups = _rates(rng, seeds + 2, sd_points=1.5)
        spread = fit_spread([cell[:seeds] for group in groups for cell in group], [500] * 24, groups=4)
        middling = (spread.mean > 0.3) & (spread.mean < 0.7)
        scatter.append(spread.sd[middling].mean())
        for rerun in (-1, -2):
            fresh = np.concatenate([group[:, rerun] for group in groups])
            alarms.append(_moved(spread, fresh))
            for group in range(4):
                for change in (0.1, -0.1):
                    planted = fresh.copy()
                    planted[6 * group : 6 * group + 6] += change
                    caught.append(_moved(spread, planted.clip(0, 1)))
    assert 0.015 < np.mean(scatter) < 0.022
    assert np.mean(caught) > least_power
    assert np.mean(alarms) <= 0.02
