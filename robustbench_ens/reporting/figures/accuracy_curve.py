"""Accuracy against eps under one protocol (DVERGE, Figures 4 and 5)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import pandas as pd

from robustbench_ens.reporting.board import short_names
from robustbench_ens.reporting.figures.axes import ladder_axis, percent_axis
from robustbench_ens.reporting.figures.curves import Curve, Dot, Mark, curves
from robustbench_ens.reporting.figures.tips import SeedRate, seed_rates
from robustbench_ens.reporting.scene import Draw
from robustbench_ens.reporting.style import Look


def accuracy_curve(
    accuracies: pd.DataFrame,
    looks: Mapping[str, Look],
    title: str,
    eps: float | None = None,
    pages: Mapping[str, str] | None = None,
) -> Draw:
    """Return a function that draws one line per ensemble, in percent, with the clean accuracy at eps 0.

    The band is the Wilson 95% interval. For several seeds, the line is the mean, the bars are the standard deviation,
    and the band reaches from the lowest to the highest end of the seeds' intervals.

    Args:
        accuracies: rows of ``derive.accuracies`` of one protocol.
        looks: the look of each ensemble.
        title: the title of the figure.
        eps: the position of a dashed line, if any.
        pages: the page of each ensemble that has one, which its name links to.
    """
    names = short_names(list(accuracies["ensemble"].unique()))
    dots: dict[str, list[Dot]] = {}
    for (ensemble, radius), rate in seed_rates(accuracies, ["ensemble", "eps"]).items():
        dots.setdefault(str(ensemble), []).append(_dot(names[str(ensemble)], float(radius), rate))
    lines = [Curve(names[label], looks[label], own, (pages or {}).get(label, "")) for label, own in dots.items()]
    up = percent_axis(f"accuracy (%), {', '.join(sorted(set(accuracies['protocol'])))}")
    across = ladder_axis("eps (l-infinity)", accuracies["eps"])
    mark = None if eps is None else Mark(eps, f"% at {eps:g}")
    return partial(curves, lines, title, (across, up), mark)


def _dot(name: str, eps: float, rate: SeedRate) -> Dot:
    tip = f"{name}, {f'eps {eps:g}' if eps else 'clean'}: {rate.tip}"
    return Dot(eps, 100 * rate.mean, tip, 100 * rate.low, 100 * rate.high, 100 * rate.std)
