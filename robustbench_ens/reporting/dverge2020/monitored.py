"""Diversity and transferability between sub-models as training goes (DVERGE, Figure 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd

from robustbench_ens.reporting.board import short_names
from robustbench_ens.reporting.figures.axes import number_axis
from robustbench_ens.reporting.figures.curves import Curve, Dot, curves
from robustbench_ens.reporting.papers.part import Part, Shown
from robustbench_ens.reporting.scene import Draw, Scene
from robustbench_ens.reporting.style import Look

WINDOW = 30
"""Measurements that the paper's curves average over."""

_PANELS = {"monitor/diversity": ("diversity (nats)", 1.0), "monitor/transferability": ("transferability (%)", 100.0)}


def rolling(values: pd.Series) -> pd.Series:
    """Mean of the last ``WINDOW`` measurements, from the first on of as many as there are."""
    return values.rolling(WINDOW, min_periods=1).mean()


def monitored(history: pd.DataFrame, looks: Mapping[str, Look], title: str) -> Draw:
    """Return what draws two panels above each other: thin what was measured, bold its rolling mean, for every seed.

    Args:
        history: ``ensemble``, ``seed``, ``name``, ``step``, ``value``; other names than ``monitor/diversity`` and
            ``monitor/transferability`` are ignored.
        looks: the look of each ensemble.
        title: of the figure.
    """
    words = {name: (title, label, scale) for name, (label, scale) in _PANELS.items()}
    return partial(_stacked, [_panel(history[history["name"] == name], looks, words[name]) for name in _PANELS])


def _stacked(shown: Sequence[Draw], width: float) -> Scene:
    scene = Scene(width, 0)
    for draw in shown:
        panel = draw(width)
        scene.place(panel, 0, scene.height)
        scene.height += panel.height + 8
    return scene


def _panel(rows: pd.DataFrame, looks: Mapping[str, Look], words: tuple[str, str, float]) -> Draw:
    title, label, scale = words
    names = short_names(list(rows["ensemble"].unique()))
    lines = []
    for (ensemble, seed), own in rows.groupby(["ensemble", "seed"]):
        by_step = own.sort_values("step")
        values = scale * by_step["value"]
        first = seed == rows.loc[rows["ensemble"] == ensemble, "seed"].min()
        look = looks[str(ensemble)]
        lines.append(Curve("", look, _dots(by_step["step"], values), style="faint"))
        name = names[str(ensemble)] if first else ""
        lines.append(Curve(name, look, _dots(by_step["step"], rolling(values)), style="plain"))
    across = number_axis("training step", rows["step"])
    up = number_axis(label, [dot.y for line in lines for dot in line.dots])
    return partial(curves, lines, title, (across, up), None)


def _dots(steps: pd.Series, values: pd.Series) -> list[Dot]:
    return [Dot(step, value) for step, value in zip(steps, values, strict=True)]


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
