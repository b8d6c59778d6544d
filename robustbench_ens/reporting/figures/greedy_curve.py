"""Accuracy against the number of variants in greedy order, up to the all-or-nothing accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd

from robustbench_ens.core.text import counted, mean_and_std, percent
from robustbench_ens.reporting.board import short_names
from robustbench_ens.reporting.figures.axes import number_axis, percent_axis
from robustbench_ens.reporting.figures.curves import Curve, Dot, curves
from robustbench_ens.reporting.scene import Draw
from robustbench_ens.reporting.style import Look


def greedy_curve(ledger: pd.DataFrame, looks: Mapping[str, Look], title: str) -> Draw:
    """Return a function that draws one line per ensemble, in percent. Several seeds give the mean, with std as bars.

    Each line ends in the all-or-nothing accuracy and stays there, since no further variant breaks another image.

    Args:
        ledger: rows of ``ledger.ledger`` of one protocol.
        looks: the look of each ensemble.
        title: the title of the figure.
    """
    longest = max(1, *ledger["order"].fillna(0).astype(int))
    names = short_names(list(ledger["ensemble"].unique()))
    lines = []
    for ensemble, rows in ledger.groupby("ensemble", observed=True):
        left = np.stack([steps(own, longest) for _, own in rows.groupby("seed")], axis=1)
        name = names[str(ensemble)]
        dots = [_dot(name, number, rates) for number, rates in enumerate(left, start=1)]
        lines.append(Curve(name, looks[str(ensemble)], dots))
    across = number_axis("variants, the most damaging first", [1, longest], whole=True, low=1.0)
    return partial(curves, lines, title, (across, percent_axis("accuracy (%)")), None)


def _dot(name: str, number: int, rates: npt.NDArray[np.float64]) -> Dot:
    several = len(rates) > 1
    left = f"{mean_and_std(pd.Series(rates))}, {counted(len(rates), 'seed')}" if several else percent(rates[0])
    tip = f"{name}, after {counted(number, 'variant')}: {left}"
    return Dot(number, 100 * rates.mean(), tip, bar=100 * rates.std(ddof=1) if several else 0.0)


def steps(ledger: pd.DataFrame, length: int) -> npt.NDArray[np.float64]:
    """Return the accuracy left after 1, 2, ... ``length`` variants of one target. The last value is repeated."""
    left = ledger.dropna(subset="order").sort_values("order")["cumulative"].to_numpy(dtype=np.float64)
    return np.pad(left, (0, length - len(left)), mode="edge") if len(left) else np.ones(length)
