"""How few variants reach the all-or-nothing accuracy: accuracy against their number, in greedy order."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from robustbench_ens.reporting.style import RC, Look
from robustbench_ens.reporting.text import shorten


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
        figure = Figure(figsize=(4.9, 3.2 + 0.2 * ledger["ensemble"].nunique()), layout="constrained")
        axes = figure.subplots()
        for ensemble, rows in ledger.groupby("ensemble", observed=True):
            look = looks[str(ensemble)]
            curves = 100 * np.stack([steps(own, longest) for _, own in rows.groupby("seed")])
            axes.errorbar(
                numbers,
                curves.mean(axis=0),
                yerr=curves.std(axis=0, ddof=1) if len(curves) > 1 else None,
                color=look.colour,
                marker=look.marker,
                fillstyle=look.fill,
                linestyle=look.line,
                capsize=2.5,
                elinewidth=1,
                clip_on=False,
                label=shorten(ensemble, 48),
            )
        axes.set(xlabel="variants, the most damaging first", ylabel="accuracy (%)", ylim=(-3, 103))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_title(shorten(title, 48), loc="left")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=1)
    return figure


def steps(ledger: pd.DataFrame, length: int) -> npt.NDArray[np.float64]:
    """Accuracy left after 1, 2, ... ``length`` variants of one target, in greedy order; the last value is repeated."""
    left = ledger.dropna(subset="order").sort_values("order")["cumulative"].to_numpy(dtype=np.float64)
    return np.pad(left, (0, length - len(left)), mode="edge") if len(left) else np.ones(length)
