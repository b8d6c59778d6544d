"""Rates over seeds, and the tips that show them when a mark is hovered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from robustbench_ens.core.text import NBSP, percent, span, with_brackets
from robustbench_ens.reporting.scene import TIP_LINE, Scene, wrapped

_BOLD = 1.12  # tips are bold, and bold text is wider


@dataclass(frozen=True)
class SeedRate:
    """A rate over seeds, in [0, 1].

    Attributes:
        mean: the mean over seeds.
        std: the standard deviation (n - 1), or 0 for one seed.
        low, high: the outermost ends of the seeds' intervals.
        n: the number of images, as text.
        seeds: the number of seeds.
    """

    mean: float
    std: float
    low: float
    high: float
    n: str
    seeds: int

    @property
    def tip(self) -> str:
        """The rate of one seed with its interval, or the mean and standard deviation of several, with n and seeds."""
        if self.seeds == 1:
            return f"{with_brackets(self.mean, self.low, self.high)}, n = {self.n}"
        return f"{percent(self.mean)}{NBSP}±{NBSP}{100 * self.std:.1f}, n = {self.n}, {self.seeds} seeds"

    @property
    def complement(self) -> SeedRate:
        """The rate of the opposite outcome, with mean, low and high taken from 1."""
        return SeedRate(1 - self.mean, self.std, 1 - self.high, 1 - self.low, self.n, self.seeds)


def seed_rates(
    rows: pd.DataFrame, keys: Sequence[str], rate: str = "accuracy"
) -> dict[tuple[str | float, ...], SeedRate]:
    """Return the rate over seeds of each group of ``rows``, in the order of the groups.

    Args:
        rows: one per group and seed, with the columns ``low``, ``high``, ``n`` and ``rate``.
        keys: the columns that make a group.
        rate: the column of the rate.
    """
    groups = rows.groupby(list(keys), observed=True)
    found = groups.agg(
        mean=(rate, "mean"),
        std=(rate, "std"),
        low=("low", "min"),
        high=("high", "max"),
        fewest=("n", "min"),
        most=("n", "max"),
        seeds=(rate, "size"),
    ).reset_index()
    return {
        tuple(row[key] for key in keys): SeedRate(
            row["mean"],
            row["std"] if row["seeds"] > 1 else 0.0,
            row["low"],
            row["high"],
            span([row["fewest"], row["most"]]),
            row["seeds"],
        )
        for row in found.to_dict("records")
    }


def leave_room(scene: Scene, bottom: float) -> None:
    """End a drawing at ``bottom`` and add room for the lines of its longest tip below.

    Args:
        scene: the drawing, with all of its marks.
        bottom: the lower end of its last mark.
    """
    tips = {group.tip for group in scene.groups() if group.tip}
    longest = max((len(wrapped(tip, _BOLD * scene.tip_size, scene.width)) for tip in tips), default=0)
    scene.tip_place = (0.0, bottom + scene.tip_size + 3, "start")
    scene.height = bottom + (longest * scene.tip_size * TIP_LINE + 8 if longest else 4)
