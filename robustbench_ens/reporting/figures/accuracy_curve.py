"""Accuracy against eps under one protocol (DVERGE, Figures 4 and 5)."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from robustbench_ens.reporting.style import RC, Look
from robustbench_ens.reporting.text import shorten

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
        figure = Figure(figsize=(4.9, 3.2 + 0.2 * accuracies["ensemble"].nunique()), layout="constrained")
        axes = figure.subplots()
        for ensemble, rows in accuracies.groupby("ensemble", observed=True):
            _draw(axes, str(ensemble), rows, looks[str(ensemble)])
        axes.set(xlabel="eps (l-infinity, pixel scale)", ylabel="accuracy (%)", ylim=(-3, 103), xlim=(0, None))
        axes.set_title(shorten(title, 48), loc="left")
        ladder = sorted(accuracies["eps"].unique())
        if len(ladder) > 1 and min(np.diff(ladder)) >= ladder[-1] / _TICKS:
            axes.set_xticks(ladder, [f"{eps:g}" for eps in ladder])
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=1)
    return figure


def _draw(axes: mpl.axes.Axes, ensemble: str, rows: pd.DataFrame, look: Look) -> None:
    by_eps = rows.groupby("eps")
    mean, std = 100 * by_eps["accuracy"].mean(), 100 * by_eps["accuracy"].std(ddof=1)
    axes.fill_between(
        mean.index, 100 * by_eps["low"].min(), 100 * by_eps["high"].max(), color=look.colour, alpha=0.2, lw=0
    )
    axes.errorbar(
        mean.index,
        mean,
        yerr=std if rows["seed"].nunique() > 1 else None,
        color=look.colour,
        marker=look.marker,
        fillstyle=look.fill,
        linestyle=look.line,
        capsize=2.5,
        elinewidth=1,
        clip_on=False,
        label=shorten(ensemble, 48),
    )
