"""Accuracy against eps under one protocol (DVERGE, Figures 4 and 5)."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from robustbench_ens.reporting.figures.curves import draw_line, label, new_figure
from robustbench_ens.reporting.style import RC, Look

_TICKS = 10  # as many labels have room; a finer ladder is left to matplotlib's own ticks


def accuracy_curve(accuracies: pd.DataFrame, looks: Mapping[str, Look], title: str) -> Figure:
    """One line per ensemble, in percent; the clean accuracy stands at eps 0.

    The band is the Wilson 95% interval. Over several seeds the line is the mean, the bars are the standard deviation,
    and the band reaches from the lowest to the highest end of the seeds' intervals.

    Args:
        accuracies: rows of one protocol, as ``derive.accuracies`` gives them.
        looks: the look of each ensemble.
        title: of the figure.
    """
    with mpl.rc_context(RC):
        figure, axes = new_figure(accuracies["ensemble"].nunique())
        for ensemble, rows in accuracies.groupby("ensemble", observed=True):
            _draw(axes, str(ensemble), rows, looks[str(ensemble)])
        axes.set(xlabel="eps (l-infinity, pixel scale)", ylabel="accuracy (%)", ylim=(-3, 103), xlim=(0, None))
        ladder = sorted(accuracies["eps"].unique())
        if len(ladder) > 1 and min(np.diff(ladder)) >= ladder[-1] / _TICKS:
            axes.set_xticks(ladder, [f"{eps:g}" for eps in ladder])
        label(figure, axes, title)
    return figure


def _draw(axes: mpl.axes.Axes, ensemble: str, rows: pd.DataFrame, look: Look) -> None:
    by_eps = rows.groupby("eps")
    mean, std = 100 * by_eps["accuracy"].mean(), 100 * by_eps["accuracy"].std(ddof=1)
    axes.fill_between(
        mean.index, 100 * by_eps["low"].min(), 100 * by_eps["high"].max(), color=look.colour, alpha=0.2, lw=0
    )
    draw_line(axes, mean.index, mean, std if rows["seed"].nunique() > 1 else None, look, ensemble)
