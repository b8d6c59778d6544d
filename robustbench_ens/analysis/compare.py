"""Paired tests of whether one ensemble beats another, on the images that both were attacked on.

A difference may be due to the choice of images or to the luck of training. The p-value of a pair is the larger of two
tests, one for each (an intersection-union test, which is conservative however seeds and images depend on each other).

*Images.* McNemar's exact test on the images that only one of the two gets right. If answers are random, an image is
right with a probability, and the test is that of random signs, of which McNemar's is a special case. With several
seeds, seed s of one is paired with seed s of the other, and the largest p-value counts. It is 1 if seeds disagree about
which ensemble is better.

*Training.* With several seeds, which are the units of replication, Welch's t-test between the accuracies of the seeds.
Counts of images are integers, so that the variance over seeds is taken to be at least 1/12 images^2. With one seed
there is no such test, and a claim is about these weights alone.

Holm's correction is over all pairs of ensembles under one protocol.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, groupby, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import betainc, stdtr

from robustbench_ens.analysis.bootstrap import mean_interval
from robustbench_ens.analysis.derive import CONFIDENCE, by_cell
from robustbench_ens.analysis.holm import holm
from robustbench_ens.analysis.rounding import COUNT_VARIANCE
from robustbench_ens.analysis.tally import Shares

WORST = "worst case"
"""The name in place of a protocol for the worst case over protocols that both ensembles were attacked under."""

COLUMNS = [
    *("dataset", "protocol", "eps", "better", "worse", "seeds", "n", "only_better", "only_worse"),
    *("difference", "low", "high", "spread", "p_by_seed", "p_images", "p_seeds", "p", "p_adjusted"),
    *("supported", "left_out"),
]
ALL_PAIRS_UP_TO = 24
"""The most ensembles of which all pairs are compared. Of more, neighbours by accuracy, and the first with each.

The time for a report of many ensembles is then proportional to their number.
"""


@dataclass(frozen=True)
class Answers:
    """The answers of one ensemble under one protocol at one eps. ``correct`` is boolean, or in [0, 1], by image.

    ``protocols`` has several protocols for the worst case. Only answers under the same protocols are compared.
    """

    dataset: str
    protocol: str
    ensemble: str
    seed: int
    eps: float
    protocols: frozenset[str]
    correct: pd.Series


def _target(own: Answers) -> tuple[str, str, int]:
    return own.dataset, own.ensemble, own.seed


def _question(own: Answers) -> tuple[str, str]:
    return own.dataset, own.protocol


def answers(images: pd.DataFrame) -> list[Answers]:
    """Return the answers at every eps above 0, from rows of ``derive.survivors``."""
    keys = ["dataset", "protocol", "ensemble", "seed", "eps"]
    return [
        Answers(**names, protocols=frozenset([names["protocol"]]), correct=own.set_index("image")["correct"])
        for names, own in by_cell(images[images["eps"] > 0], keys, ["image", "correct"])
    ]


def in_common(several: Iterable[Answers]) -> tuple[pd.Index, npt.NDArray[Any]]:
    """Return the images that all ``several`` answers have in common, and whether each is right: (images, answers)."""
    columns = [own.correct for own in several]
    images = columns[0].index
    if not all(column.index.equals(images) for column in columns[1:]):
        images = pd.concat(columns, axis=1, join="inner").index
        columns = [column.loc[images] for column in columns]
    return images, np.stack([column.to_numpy() for column in columns], axis=1)


def at_headline(
    found: Iterable[Answers], eps: Mapping[str, float], tiers: Collection[tuple[str, str]]
) -> list[Answers]:
    """Return those at their dataset's ``eps``, then the worst case of every ensemble over its tiers.

    Args:
        found: the answers under all protocols.
        eps: the eps of each dataset.
        tiers: the (protocol, ensemble) that count in the worst case.
    """
    chosen = [own for own in found if own.eps == eps.get(own.dataset)]
    return chosen + _worst([own for own in chosen if (own.protocol, own.ensemble) in tiers])


def _worst(tiers: Sequence[Answers]) -> list[Answers]:
    found = []
    for _, group in groupby(sorted(tiers, key=_target), key=_target):
        several = list(group)
        images, correct = in_common(several)
        names = frozenset(own.protocol for own in several)
        if len(images):
            worst = pd.Series(correct.min(axis=1), images)
            found.append(replace(several[0], protocol=WORST, protocols=names, correct=worst))
    return found


def comparisons(found: Sequence[Answers]) -> pd.DataFrame:
    """Compare pairs of ensembles under every protocol, on the seeds and images that they share.

    Returns:
        one row per pair (see ``ALL_PAIRS_UP_TO``) with the columns ``COLUMNS``. ``better`` has the higher mean accuracy
        over seeds, by ``difference`` in [0, 1] (bootstrap 95% interval over images ``low`` to ``high``, standard
        deviation over images ``spread``). ``only_better`` and ``only_worse`` count the images that one gets right more
        often than the other, summed over seeds. ``p_by_seed`` are the p-values of :func:`paired_p`, ``p_images`` and
        ``p_seeds`` (null for one seed) those of the two tests, ``p`` the larger, and ``p_adjusted`` that after Holm's
        correction. ``supported`` is true if ``better`` significantly beats ``worse``. ``left_out`` is the number of
        pairs under the same protocol that were not compared because there are too many ensembles.
    """
    tables = []
    for _, group in groupby(sorted(found, key=_question), key=_question):
        by_ensemble: dict[str, dict[int, Answers]] = {}
        for own in group:
            by_ensemble.setdefault(own.ensemble, {})[own.seed] = own
        pairs = [compared(by_ensemble[one], by_ensemble[other]) for one, other in _chosen(by_ensemble)]
        tables.append(_holm([pair for pair in pairs if pair is not None], math.comb(len(by_ensemble), 2) - len(pairs)))
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=COLUMNS)


def _chosen(by_ensemble: Mapping[str, Mapping[int, Answers]]) -> Sequence[tuple[str, str]]:
    names = sorted(by_ensemble)
    if len(names) <= ALL_PAIRS_UP_TO:
        return list(combinations(names, 2))
    means = {name: np.mean([own.correct.mean() for own in by_ensemble[name].values()]) for name in names}
    first, *others = sorted(names, key=lambda name: -means[name])
    return list(dict.fromkeys([*((first, other) for other in others), *pairwise(others)]))


def _holm(pairs: list[dict[str, Any]], left_out: int) -> pd.DataFrame:
    """Correct the p-values of ``pairs``. Skipped pairs count as tests with p = 1: accuracies decided the choice."""
    if not pairs:
        return pd.DataFrame(columns=COLUMNS)
    adjusted = holm([pair["p"] for pair in pairs] + [1.0] * left_out, 1 - CONFIDENCE).adjusted[: len(pairs)]
    supported = adjusted < 1 - CONFIDENCE
    return pd.DataFrame(pairs).assign(p_adjusted=adjusted, supported=supported, left_out=left_out)[COLUMNS]


def compared(one: Mapping[int, Answers], other: Mapping[int, Answers]) -> dict[str, Any] | None:
    """Compare one pair by each ensemble's answers by seed, and return a row of :func:`comparisons` up to ``p``.

    The result is None if they share no seed or no image.
    """
    seeds = [seed for seed in sorted(one) if seed in other and one[seed].protocols == other[seed].protocols]
    if not seeds:
        return None
    images, correct = in_common(of[seed] for of in (one, other) for seed in seeds)
    if not len(images):
        return None
    first, second = np.split(correct.astype(float).T, 2)
    names = (one[seeds[0]].ensemble, other[seeds[0]].ensemble)
    if first.mean() < second.mean():
        first, second, names = second, first, names[::-1]
    only_first = (first > second).sum(axis=1)
    only_second = (second > first).sum(axis=1)
    difference = first.mean(axis=0) - second.mean(axis=0)
    low, high = mean_interval(difference, CONFIDENCE)
    by_seed = [paired_p(first[row], second[row]) for row in range(len(seeds))]
    agree = bool((first.sum(axis=1) > second.sum(axis=1)).all())
    p_images = max(by_seed) if agree else 1.0
    p_seeds = welch_p(first, second)
    own = one[seeds[0]]
    return {
        "dataset": own.dataset,
        "protocol": own.protocol,
        "eps": own.eps,
        "better": names[0],
        "worse": names[1],
        "seeds": len(seeds),
        "n": len(difference),
        "only_better": int(only_first.sum()),
        "only_worse": int(only_second.sum()),
        "difference": round(float(difference.mean()), 12),  # equal counts are equal
        "low": low,
        "high": high,
        "spread": float(difference.std()),
        "p_by_seed": tuple(by_seed),
        "p_images": p_images,
        "p_seeds": p_seeds,
        "p": p_images if p_seeds is None else max(p_images, p_seeds),
    }


def mcnemar_p(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """Return the two-sided exact p-value of McNemar's test on two classifiers' right answers, both ``(images,)``."""
    fewer, more = sorted([int((first & ~second).sum()), int((second & ~first).sum())])
    if more - fewer <= 1:
        return 1.0
    # Twice the probability of at most ``fewer`` heads of ``fewer + more`` coins: a binomial sum is an incomplete beta.
    return float(2 * betainc(more, fewer + 1, 0.5))


SIGN_FLIPS = 99_999
"""The number of draws of random signs. P-values are multiples of 1 / 100,000."""


def paired_p(first: Shares, second: Shares) -> float:
    """Return the two-sided p-value of a paired test on two classifiers' right answers, both ``(images,)`` in [0, 1].

    If all are 0 or 1, it is :func:`mcnemar_p`. Otherwise it is that of random signs: if neither is better, each
    image's difference is as likely as its negative. ``(1 + draws as far from 0) / (1 + draws)`` is valid for any
    number of draws (Phipson and Smyth 2010, "Permutation p-values should never be zero"). The draws are fixed.
    """
    difference = first - second
    if np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all():
        return mcnemar_p(first.astype(bool), second.astype(bool))
    sizes, counts = np.unique(np.abs(difference).round(9), return_counts=True)
    # The sum of n signs is 2 * Binomial(n, 1/2) - n.
    heads = np.random.default_rng(0).binomial(counts, 0.5, size=(SIGN_FLIPS, len(counts)))
    sums = np.abs((2 * heads - counts) @ sizes)
    return float((1 + (sums >= abs(difference.sum()) - 1e-6).sum()) / (1 + SIGN_FLIPS))


def welch_p(first: Shares, second: Shares) -> float | None:
    """Return the two-sided p-value of Welch's t-test between seeds' accuracies, ``(seeds, images)``, None for one."""
    return welch_p_of_rates(first.mean(axis=1), second.mean(axis=1), first.shape[1])


def welch_p_of_rates(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64], images: int) -> float | None:
    """Return :func:`welch_p` of the seeds' rates over ``images`` images, ``(seeds,)`` of possibly different seeds."""
    if min(len(first), len(second)) < 2:
        return None
    least = np.sqrt(COUNT_VARIANCE) / images
    spreads = [max(rates.std(ddof=1), least) ** 2 / len(rates) for rates in (first, second)]
    of_each = [spread**2 / (len(rates) - 1) for spread, rates in zip(spreads, (first, second), strict=True)]
    t = (first.mean() - second.mean()) / np.sqrt(sum(spreads))
    return float(2 * stdtr(sum(spreads) ** 2 / sum(of_each), -abs(t)))
