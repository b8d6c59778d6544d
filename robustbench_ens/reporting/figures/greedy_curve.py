"""How few variants reach the all-or-nothing accuracy: accuracy against their number, in greedy order."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from robustbench_ens.reporting.figures.curves import draw_line, label, new_figure
from robustbench_ens.reporting.style import RC, Look


def greedy_curve(ledger: pd.DataFrame, looks: Mapping[str, Look], title: str) -> Figure:
    """One line per ensemble, in percent; over several seeds their mean, with the standard deviation as bars.

    Each line ends in the all-or-nothing accuracy, and stays there: no further variant breaks another image.

    Args:
        ledger: rows of one protocol, as ``ledger.ledger`` gives them.
        looks: the look of each ensemble.
        title: of the figure.
    """
    longest = max(1, *ledger["order"].fillna(0).astype(int))
    numbers = np.arange(1, longest + 1)
    with mpl.rc_context(RC):
        figure, axes = new_figure(ledger["ensemble"].nunique())
        for ensemble, rows in ledger.groupby("ensemble", observed=True):
            curves = 100 * np.stack([steps(own, longest) for _, own in rows.groupby("seed")])
            std = curves.std(axis=0, ddof=1) if len(curves) > 1 else None
            draw_line(axes, numbers, curves.mean(axis=0), std, looks[str(ensemble)], str(ensemble))
        axes.set(xlabel="variants, the most damaging first", ylabel="accuracy (%)", ylim=(-3, 103))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        label(figure, axes, title)
    return figure


def steps(ledger: pd.DataFrame, length: int) -> npt.NDArray[np.float64]:
    """Accuracy left after 1, 2, ... ``length`` variants of one target, in greedy order; the last value is repeated."""
    left = ledger.dropna(subset="order").sort_values("order")["cumulative"].to_numpy(dtype=np.float64)
    return np.pad(left, (0, length - len(left)), mode="edge") if len(left) else np.ones(length)
