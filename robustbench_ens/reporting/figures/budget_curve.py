"""Accuracy against budget: what is left after so many passes through the attacked model."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from robustbench_ens.reporting.figures.curves import draw_line, label, new_figure
from robustbench_ens.reporting.style import RC, Look


def budget_curve(budget: pd.DataFrame, looks: Mapping[str, Look], title: str) -> Figure:
    """One line per ensemble, a point per attempt; over several seeds means, with the standard deviation as bars.

    Args:
        budget: rows of one protocol, as :func:`~robustbench_ens.analysis.budget.file_budget` gives them.
        looks: the look of each ensemble.
        title: of the figure.
    """
    with mpl.rc_context(RC):
        figure, axes = new_figure(budget["ensemble"].nunique())
        for ensemble, rows in budget.groupby("ensemble", observed=True):
            points = rows.groupby("attempt")[["passes", "accuracy"]]
            mean = points.mean()
            std = 100 * points["accuracy"].std() if rows["seed"].nunique() > 1 else None
            draw_line(axes, mean["passes"], 100 * mean["accuracy"], std, looks[str(ensemble)], str(ensemble))
        axes.set(xlabel="passes per image, forward and backward", ylabel="accuracy (%)", ylim=(-3, 103))
        axes.set_xlim(left=0)
        label(figure, axes, title)
    return figure
