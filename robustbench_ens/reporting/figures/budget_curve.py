"""Accuracy against budget, which is the number of passes through the attacked model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import pandas as pd

from robustbench_ens.core.text import counted, mean_and_std, percent
from robustbench_ens.reporting.board import short_names
from robustbench_ens.reporting.figures.axes import number_axis, percent_axis
from robustbench_ens.reporting.figures.curves import Curve, Dot, curves
from robustbench_ens.reporting.scene import Draw
from robustbench_ens.reporting.style import Look


def budget_curve(budget: pd.DataFrame, looks: Mapping[str, Look], title: str) -> Draw:
    """Return a function that draws one line per ensemble and a point per attempt.

    For several seeds, points are means and bars are standard deviations.

    Args:
        budget: rows of :func:`~robustbench_ens.analysis.budget.file_budget` of one protocol.
        looks: the look of each ensemble.
        title: the title of the figure.
    """
    names = short_names(list(budget["ensemble"].unique()))
    lines = []
    for ensemble, rows in budget.groupby("ensemble", observed=True):
        name = names[str(ensemble)]
        dots = [_dot(name, own) for _, own in rows.groupby("attempt")]
        lines.append(Curve(name, looks[str(ensemble)], dots))
    across = number_axis("passes per image, forward and backward", [dot.x for line in lines for dot in line.dots])
    return partial(curves, lines, title, (across, percent_axis("accuracy (%)")), None)


def _dot(name: str, rows: pd.DataFrame) -> Dot:
    several = len(rows) > 1
    left = (
        f"{mean_and_std(rows['accuracy'])}, {counted(len(rows), 'seed')}"
        if several
        else percent(rows["accuracy"].iloc[0])
    )
    passes = rows["passes"].mean()
    tip = f"{name}, attempt {rows['attempt'].iloc[0]}, after {passes:,.1f} passes: {left}"
    bar = 100 * rows["accuracy"].std(ddof=1) if several else 0.0
    return Dot(passes, 100 * rows["accuracy"].mean(), tip, bar=bar)
