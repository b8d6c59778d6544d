"""The eps that represents a ladder in summaries with one number."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd

STANDARD_EPS = {"digits": 0.2, "cifar10": 0.03}
"""The standard eps of each dataset. A name is also a prefix: ``cifar10`` covers ``cifar100`` and ``cifar10-jpeg``."""


@dataclass(frozen=True)
class HeadlineEps:
    """The eps of a summary, in [0, 1] pixel scale, and whether it is the dataset's standard."""

    eps: float
    standard: bool

    def __str__(self) -> str:
        return f"{self.eps:g}" + ("" if self.standard else " (middle of the ladder)")


def headline_eps(dataset: str, ladder: Collection[float]) -> HeadlineEps | None:
    """Return the standard eps of ``dataset`` if ``ladder`` has it, else the (upper) middle of the ladder.

    Args:
        dataset: name of the dataset.
        ladder: the attacked eps; zeros (clean images) are ignored.

    Returns:
        None for a ladder without a positive eps.
    """
    radii = sorted({eps for eps in ladder if eps > 0})
    if not radii:
        return None
    names = [name for name in STANDARD_EPS if dataset.startswith(name)]
    wanted = STANDARD_EPS[max(names, key=len)] if names else None
    found = [eps for eps in radii if wanted is not None and math.isclose(eps, wanted)]
    return HeadlineEps(found[0], True) if found else HeadlineEps(radii[len(radii) // 2], False)


def at_headline(rows: pd.DataFrame, chosen: HeadlineEps | None) -> pd.DataFrame:
    """Return those of ``rows`` at the headline eps, or no rows without one."""
    return rows[rows["eps"] == chosen.eps] if chosen else rows.iloc[:0]
