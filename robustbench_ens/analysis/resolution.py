"""Warnings about too few images, seeds or attacks for the order of the leaderboard."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pandas as pd
from scipy.special import ndtri

from robustbench_ens.analysis.compare import WORST
from robustbench_ens.analysis.derive import CONFIDENCE
from robustbench_ens.core.text import shorten, span

POWER = 0.8
"""The probability with which a difference should be found."""

_SHOWN = 5  # most pairs that a sentence names
_LONGEST = 64  # most characters of a name in it


def images_needed(difference: float, spread: float) -> float:
    """Return the number of images for a paired two-sided test at level 0.05 to find ``difference`` with ``POWER``.

    Args:
        difference: difference of accuracies, in (0, 1].
        spread: standard deviation over images of the difference between the two, each 0 or 1.
    """
    null = math.hypot(difference, spread)
    # Connor 1987, "Sample size for testing differences in proportions for the paired-sample design", Biometrics 43.
    both = -ndtri((1 - CONFIDENCE) / 2) * null + ndtri(POWER) * spread
    return float((both / difference) ** 2)


def smallest_difference(n: int, difference: float, spread: float) -> float:
    """Return the smallest difference that ``n`` images would show with probability ``POWER``, at the same spread.

    The needed number of images is proportional to the inverse square of the difference.
    """
    return difference * math.sqrt(images_needed(difference, spread) / n)


def resolution_warnings(worst: pd.DataFrame, comparisons: pd.DataFrame) -> list[str]:
    """Return one sentence per dataset about neighbours in the leaderboard that are tied for lack of images or seeds.

    Args:
        worst: rows of :func:`~robustbench_ens.analysis.worst_case.worst_case` at one eps per dataset.
        comparisons: the result of ``compare.comparisons``.
    """
    texts = []
    tested = comparisons[comparisons["protocol"] == WORST]
    for dataset, rows in worst.groupby("dataset", observed=True):
        own = tested[tested["dataset"] == dataset]
        pairs = {(row["better"], row["worse"]): row for row in own.to_dict("records")}
        order = list(rows.groupby("ensemble")["accuracy"].mean().sort_values(ascending=False, kind="stable").index)
        neighbours = [pairs.get(pair) or pairs.get(pair[::-1]) for pair in pairwise(order)]
        level = [row for row in neighbours if row and row["difference"] > 0 and not row["supported"]]
        by_seeds = [row for row in level if row["seeds"] > 1 and row["p_seeds"] > row["p_images"]]
        by_images = [row for row in level if row not in by_seeds]
        if by_images:
            texts.append(
                f"{dataset}: too few images for the order shown in the worst case (numbers for one test alone, found "
                f"with a chance of {POWER:.0%}). Statistically tied: {_some([_images(row) for row in by_images])}."
            )
        if by_seeds:
            texts.append(
                f"{dataset}: too few training seeds for the order shown in the worst case. Statistically tied: "
                f"{_some([_names(row) for row in by_seeds])}."
            )
    return texts


def unequal_tiers(worst: pd.DataFrame) -> list[str]:
    """Return one sentence per dataset whose worst cases are over different protocols and not comparable.

    For an ensemble, only the protocols that all of its seeds were attacked under count.
    """
    texts = []
    for dataset, rows in worst.groupby("dataset", observed=True):
        sets = {
            str(name): set.intersection(*(set().union(*seed["protocols"]) for _, seed in own.groupby("seed")))
            for name, own in rows.groupby("ensemble")
        }
        whole = set().union(*rows["protocols"])
        lacking = [shorten(name, _LONGEST) for name, protocols in sets.items() if protocols != whole]
        if lacking:
            sizes = span(map(len, sets.values()))
            texts.append(
                f"{dataset}: the worst cases are over different protocols ({sizes} of {len(whole)}); "
                f"those of {_some(lacking)} may be too high."
            )
    return texts


def _names(row: dict[Any, Any]) -> str:
    return f"{shorten(row['better'], _LONGEST)} and {shorten(row['worse'], _LONGEST)}"


def _images(row: dict[Any, Any]) -> str:
    needed = images_needed(row["difference"], row["spread"])
    least = smallest_difference(row["n"], row["difference"], row["spread"])
    return (
        f"{_names(row)}, {100 * row['difference']:.1f} points apart (n = {row['n']} would show about "
        f"{100 * least:.1f}; this difference needs about {_round(needed):,} images)"
    )


def _round(images: float) -> int:
    """Round up to two significant digits."""
    digits = max(0, math.floor(math.log10(images)) - 1)
    return math.ceil(images / 10**digits) * 10**digits


def _some(items: list[str]) -> str:
    more = len(items) - _SHOWN
    return "; ".join(items[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
