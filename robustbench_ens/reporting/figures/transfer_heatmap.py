"""Transferability between the sub-models of one ensemble at one eps (DVERGE, Figures 3, 8 and 11)."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from robustbench_ens.core.text import shorten
from robustbench_ens.outcomes import ENSEMBLE
from robustbench_ens.reporting.style import RC

_FRAME = "#e08a1e"  # stands out from every shade of the map, on light and dark pages
_DARK_FROM = 55.0  # percent from which the colour map is dark enough for white figures
_UPRIGHT_FROM = 0.55  # inches a column needs for the word "ensemble"


def transfer_heatmap(transfer: pd.DataFrame, title: str, note: str = "") -> Figure:
    """Success rates in percent: attack crafted on the sub-model of the row, scored on the column; last the ensemble.

    White-box cells (the diagonal) are framed. The colour scale is 0 to 100 in every heatmap. Over several seeds the
    cells hold means.

    Args:
        transfer: rows of one ensemble and eps, as ``derive.transferability`` gives them.
        title: of the figure.
        note: a second line: eps and n.
    """
    rates = 100 * transfer.pivot_table(index="source_member", columns="target_member", values="rate", aggfunc="mean")
    members = [member for member in rates.columns if member != ENSEMBLE]
    rates = rates[[*members, *([ENSEMBLE] if ENSEMBLE in rates.columns else [])]]
    rows, columns = rates.shape
    values = rates.to_numpy()
    cell = max(0.36, min(0.62, 3.2 / columns))
    with mpl.rc_context(RC | {"axes.grid": False}):
        figure = Figure(figsize=(max(3.1, cell * columns + 0.9), cell * rows + 1.25), layout="constrained")
        axes = figure.subplots()
        axes.pcolormesh(rates, cmap="Blues", vmin=0, vmax=100, edgecolors="#8fa3b8", linewidth=0.6)
        for row, source in enumerate(rates.index):
            for column, target in enumerate(rates.columns):
                _write(axes, row, column, values[row, column], cell)
                if source == target:
                    axes.add_patch(Rectangle((column, row), 1, 1, fill=False, edgecolor=_FRAME, linewidth=2))
        names = ["ensemble" if member == ENSEMBLE else str(member) for member in rates.columns]
        axes.set_xticks([column + 0.5 for column in range(columns)], names)
        if cell < _UPRIGHT_FROM:
            axes.tick_params(axis="x", rotation=90)
        axes.set_yticks([row + 0.5 for row in range(rows)], [str(member) for member in rates.index])
        axes.set(xlabel="scored on", ylabel="crafted on sub-model", aspect="equal")
        axes.invert_yaxis()
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(note, fontweight="normal")
        figure.suptitle(shorten(title, 40), fontsize=RC["axes.titlesize"], fontweight="bold")
    return figure


def _write(axes: mpl.axes.Axes, row: int, column: int, rate: float, cell: float) -> None:
    if pd.notna(rate):
        colour = "#ffffff" if rate > _DARK_FROM else "#000000"
        size = 9.5 if cell > 0.5 else 7.5
        axes.text(column + 0.5, row + 0.5, f"{rate:.1f}", ha="center", va="center", color=colour, fontsize=size)
