"""Diversity and transferability between sub-models as training goes (DVERGE, Figure 2)."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from robustbench_ens.core.text import shorten
from robustbench_ens.reporting.dverge2020.part import Part, Shown
from robustbench_ens.reporting.style import RC, Look

WINDOW = 30
"""Measurements that the paper's curves average over."""

_PANELS = {"monitor/diversity": ("diversity (nats)", 1.0), "monitor/transferability": ("transferability (%)", 100.0)}


def rolling(values: pd.Series) -> pd.Series:
    """Mean of the last ``WINDOW`` measurements, from the first on of as many as there are."""
    return values.rolling(WINDOW, min_periods=1).mean()


def monitored(history: pd.DataFrame, looks: Mapping[str, Look], title: str) -> Figure:
    """Two panels above each other: thin what was measured, bold its rolling mean; every seed draws its own line.

    Args:
        history: ``ensemble``, ``seed``, ``name``, ``step``, ``value``; other names than ``monitor/diversity`` and
            ``monitor/transferability`` are ignored.
        looks: the look of each ensemble.
        title: of the figure.
    """
    with mpl.rc_context(RC):
        ensembles = history["ensemble"].nunique()
        figure = Figure(figsize=(4.9, 4.4 + 0.2 * ensembles), layout="constrained")
        grid = figure.subplots(2, 1, sharex=True)
        for axes, (name, (label, scale)) in zip(grid, _PANELS.items(), strict=True):
            for (ensemble, seed), rows in history[history["name"] == name].groupby(["ensemble", "seed"]):
                rows, look = rows.sort_values("step"), looks[str(ensemble)]
                axes.plot(rows["step"], scale * rows["value"], color=look.colour, alpha=0.35, lw=0.8)
                first = seed == history.loc[history["ensemble"] == ensemble, "seed"].min()
                axes.plot(
                    rows["step"],
                    scale * rolling(rows["value"]),
                    color=look.colour,
                    linestyle=look.line,
                    lw=2.2,
                    label=shorten(ensemble, 48) if first else "_nolegend_",
                )
            axes.set(ylabel=label, ylim=(0, None))
        grid[0].set_title(shorten(title, 48), loc="left")
        grid[-1].set_xlabel("training step")
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower left", ncols=1)
    return figure


def show_monitored(part: Part) -> Shown:
    """Show the curves of training, if they were recorded."""
    history = part.collection.history
    labels = {target["label"] for target in part.targets}
    rows = history[history["name"].str.startswith("monitor/") & history["ensemble"].isin(labels)]
    if rows.empty:
        return Shown()
    title = "Diversity and transferability in training"
    alt = f"{title}: diversity (Equation 2) and mean transferability between sub-models by training step."
    caption = (
        f"Figure 2: thin: each measurement; bold: mean of the last {WINDOW}, as in the paper, which prints no numbers"
    )
    figure = part.figure("monitored", monitored(rows, part.looks, title), alt, caption)
    return Shown([figure], frozenset({"Figure 2"}))
