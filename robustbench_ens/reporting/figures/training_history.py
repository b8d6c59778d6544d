"""The training history of one ensemble: loss terms, accuracy on the test split, and learning rate by epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from robustbench_ens.outcomes import ENSEMBLE
from robustbench_ens.reporting.figures.axes import Axis, number_axis, percent_axis
from robustbench_ens.reporting.figures.curves import Curve, Dot, curves
from robustbench_ens.reporting.figures.tips import leave_room
from robustbench_ens.reporting.scene import Scene, fitted
from robustbench_ens.reporting.style import Look

WIDTH = 1180.0
"""The width of one figure on a wide page, in pixels."""

_PANEL = 340.0  # the smallest width in pixels of panels side by side
_DASHES: Sequence[tuple[float, ...]] = ((), (4, 1.5), (1.2, 1.2), (6, 1.5, 1.2, 1.5))


def training_history(history: pd.DataFrame, look: Look, title: str, width: float) -> Scene:
    """Return one panel each for the loss terms, the test accuracy (faint: sub-models) and the learning rate.

    Every seed has its own line. A quantity that was not measured has no panel.

    Args:
        history: rows of one ensemble: ``seed``, ``name``, ``target_member``, ``step`` (epoch), ``value``, ``unit``.
        look: the look of the ensemble.
        title: the title of the figure.
        width: the width in pixels. Panels are side by side if it has room for them.
    """
    panels = list(_panels(history, look))
    beside = max(1, min(len(panels), int(width // _PANEL)))
    each = (width - 20 * (beside - 1)) / beside
    drawn = [(curves(lines, name, axes, None, each), f"{name}: {ends}") for name, lines, axes, ends in panels]
    rows = [drawn[first : first + beside] for first in range(0, len(drawn), beside)]
    heights = [max(scene.height for scene, _ in row) for row in rows]
    whole = Scene(width, 24 + sum(heights))
    whole.text(0, 14, fitted(title, 13, width, bold=True), size=13, bold=True)
    y = 24.0
    for row, height in zip(rows, heights, strict=True):
        for number, (scene, tip) in enumerate(row):
            with whole.marked(tip):
                whole.place(scene, number * (each + 20), y)
        y += height
    leave_room(whole, y)
    return whole


def _panels(history: pd.DataFrame, look: Look) -> Iterator[tuple[str, list[Curve], tuple[Axis, Axis], str]]:
    """Yield title, lines, axes and the ends of the lines in words."""
    epochs = number_axis("epoch", history["step"], whole=True)
    losses = history[(history["unit"] == "nats") & history["name"].str.startswith("train/")]
    if len(losses):
        yield "Loss", list(_losses(losses, look)), (epochs, number_axis("nats", losses["value"])), _ends(losses)
    accuracy = history[history["name"] == "test/accuracy"]
    if accuracy["step"].nunique() > 1:  # a single measurement at the end makes no line
        whole = accuracy[accuracy["target_member"] == ENSEMBLE]
        yield (
            "Test accuracy",
            list(_accuracy(accuracy, look)),
            (epochs, percent_axis("accuracy (%)")),
            _ends(whole.assign(value=100 * whole["value"])),
        )
    rate = history[history["name"] == "train/lr"]
    if len(rate):
        plain = replace(look, line=(0, ()))
        lines = [_curve("", rows, plain) for _, rows in rate.groupby("seed")]
        yield "Learning rate", lines, (epochs, number_axis("lr", rate["value"])), _ends(rate)


def _ends(rows: pd.DataFrame) -> str:
    """Return the first and the last value of each quantity, as means over its lines."""
    texts = []
    for name, own in rows[np.isfinite(rows["value"])].groupby("name", observed=True):
        mean = own.groupby("step")["value"].mean()
        ends = [f"{mean.iloc[at]:.3g} in epoch {mean.index[at]}" for at in (0, -1)[: len(mean)]]
        texts.append(f"{_words(str(name))} {', '.join(ends)}")
    return "; ".join(texts)


def _words(name: str) -> str:
    return name.partition("/")[2].replace("_", " ")


def _losses(rows: pd.DataFrame, look: Look) -> Iterator[Curve]:
    for number, (name, term) in enumerate(rows.groupby("name", observed=True)):
        dashed = replace(look, line=(0, _DASHES[number % len(_DASHES)]))
        label = _words(str(name))
        for _, seed in term.groupby(["seed", "target_member"]):
            yield _curve(label, seed, dashed)
            label = ""


def _accuracy(rows: pd.DataFrame, look: Look) -> Iterator[Curve]:
    labels = {True: "ensemble", False: "sub-models"}
    solid = replace(look, line=(0, ()))
    for (_, member), seed in rows.groupby(["seed", "target_member"]):
        whole = bool(member == ENSEMBLE)
        curve = _curve(labels.pop(whole, ""), seed, solid, scale=100.0)
        yield curve if whole else replace(curve, style="faint")


def _curve(name: str, rows: pd.DataFrame, look: Look, scale: float = 1.0) -> Curve:
    dots = [Dot(float(step), scale * float(value)) for step, value in zip(rows["step"], rows["value"], strict=True)]
    return Curve(name, look, dots, style="plain")
