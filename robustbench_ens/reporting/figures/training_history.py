"""Training history of one ensemble: loss terms, accuracy on the test split, learning rate, by epoch."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from robustbench_ens.core.text import shorten
from robustbench_ens.outcomes import ENSEMBLE
from robustbench_ens.reporting.style import INK, RC, Look

_TERM_LINES = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))


def training_history(history: pd.DataFrame, look: Look, title: str) -> Figure:
    """Panels above each other, one x axis: the loss terms, the test accuracy (thin: sub-models), the learning rate.

    Every seed draws its own line. A quantity that was not measured has no panel.

    Args:
        history: rows of one ensemble: ``seed``, ``name``, ``target_member``, ``step`` (epoch), ``value``, ``unit``.
        look: of the ensemble.
        title: of the figure.
    """
    losses = history[(history["unit"] == "nats") & history["name"].str.startswith("train/")]
    accuracy = history[history["name"] == "test/accuracy"]
    if accuracy["step"].nunique() < 2:  # measured at the end only: nothing to draw over epochs
        accuracy = accuracy.iloc[:0]
    rate = history[history["name"] == "train/lr"]
    panels = [(losses, _losses), (accuracy, _accuracy), (rate, _learning_rate)]
    drawn = [(rows, draw) for rows, draw in panels if len(rows)]
    heights = [0.55 if draw is _learning_rate else 1.0 for _, draw in drawn] or [1.0]
    with mpl.rc_context(RC):
        figure = Figure(figsize=(4.9, 0.9 + 1.7 * sum(heights)), layout="constrained")
        grid = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
        for axes, (rows, draw) in zip(grid, drawn, strict=False):
            draw(axes, rows, look)
        grid[0].set_title(shorten(title, 48), loc="left")
        grid[-1].set_xlabel("epoch")
        grid[-1].xaxis.get_major_locator().set_params(integer=True)
    return figure


def _losses(axes: mpl.axes.Axes, rows: pd.DataFrame, look: Look) -> None:
    for position, (name, term) in enumerate(rows.groupby("name", observed=True)):
        line = _TERM_LINES[position % len(_TERM_LINES)]
        label = shorten(str(name).removeprefix("train/").replace("_", " "), 30)
        for _, seed in term.groupby(["seed", "target_member"]):
            axes.plot(seed["step"], seed["value"], color=look.colour, linestyle=line, label=label)
            label = "_nolegend_"
    axes.set(ylabel="loss (nats)", ylim=(0, None))
    axes.legend(loc="upper right")


def _accuracy(axes: mpl.axes.Axes, rows: pd.DataFrame, look: Look) -> None:
    labels = {True: "ensemble", False: "sub-models"}
    for (_, member), seed in rows.groupby(["seed", "target_member"]):
        whole = member == ENSEMBLE
        width, alpha = (2.0, 1.0) if whole else (0.9, 0.6)
        label = labels.pop(whole, "_nolegend_")
        style = "-" if whole else (0, (2, 1))
        axes.plot(
            seed["step"], 100 * seed["value"], color=look.colour, linestyle=style, lw=width, alpha=alpha, label=label
        )
    axes.set_ylabel("test accuracy (%)")
    axes.legend(loc="lower right")


def _learning_rate(axes: mpl.axes.Axes, rows: pd.DataFrame, look: Look) -> None:
    for _, seed in rows.groupby("seed"):
        axes.plot(seed["step"], seed["value"], color=INK, lw=1.2)
    axes.set(ylabel="lr", ylim=(0, None))
