"""What figures of accuracy curves have in common: size, lines with bars, title and legend."""

from __future__ import annotations

import matplotlib as mpl
import numpy.typing as npt
from matplotlib.figure import Figure

from robustbench_ens.core.text import shorten
from robustbench_ens.reporting.style import Look


def new_figure(lines: int) -> tuple[Figure, mpl.axes.Axes]:
    """A figure and its axes, with room below for the names of so many lines."""
    figure = Figure(figsize=(4.9, 3.2 + 0.2 * lines), layout="constrained")
    return figure, figure.subplots()


def draw_line(
    axes: mpl.axes.Axes, x: npt.ArrayLike, mean: npt.ArrayLike, std: npt.ArrayLike | None, look: Look, name: str
) -> None:
    """One line; the standard deviation, where there is one, as bars."""
    axes.errorbar(
        x,
        mean,
        yerr=std,
        color=look.colour,
        marker=look.marker,
        fillstyle=look.fill,
        linestyle=look.line,
        capsize=2.5,
        elinewidth=1,
        clip_on=False,
        label=shorten(name, 64),
    )


def label(figure: Figure, axes: mpl.axes.Axes, title: str) -> None:
    """The title above the axes, and below them the names of the lines."""
    axes.set_title(shorten(title, 48), loc="left")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=1)
