"""A gallery: clean and adversarial images with what was added, and what every sub-model says of them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from robustbench_ens.core.text import NBSP, shorten
from robustbench_ens.reporting.figures.pictures import class_name, show
from robustbench_ens.reporting.style import RC

WRONG = "✗"
PER_FIGURE = 3
"""Images that have room beside each other."""

# All in inches: the one pair of axes covers the figure, so that every image has the same size in every figure.
_WIDTH, _LABELS, _PAIR, _SIDE, _GAP = 4.9, 1.18, 1.25, 0.56, 0.04
_TOP, _LINE, _BETWEEN = 0.6, 0.145, 0.09
_CHARACTERS = 18  # of a line of predictions under a pair
_KEY_CHARACTERS = 66  # of a line across the figure


@dataclass(frozen=True)
class Row:
    """One variant of all images.

    Args:
        tier: ``clean``, ``whitebox`` or ``blackbox``.
        attack, loss, restart: as in outcomes.
        images: uint8 ``(N, C, H, W)``.
        perturbation: ``(N, C, H, W)``, pixel scale.
        predicted: ``(N, M + 1)``, the ensemble last.
    """

    tier: str
    attack: str
    loss: str
    restart: int
    images: npt.NDArray[np.uint8]
    perturbation: npt.NDArray[np.floating[Any]]
    predicted: npt.NDArray[np.integer[Any]]

    @property
    def title(self) -> list[str]:
        """Its name, in lines."""
        if self.tier == "clean":
            return ["clean"]
        start = [f"start {self.restart}"] if self.restart else []
        return [{"whitebox": "white-box", "blackbox": "black-box"}[self.tier], self.attack, self.loss, *start]


def gallery(
    rows: Sequence[Row],
    indices: npt.NDArray[np.integer[Any]],
    labels: npt.NDArray[np.integer[Any]],
    names: Sequence[str],
    *,
    eps: float,
    title: str,
) -> Figure:
    """A column per image and a row per variant: the image, beside it what was added, below them the predictions.

    What was added is grey where it is 0, white where it is ``+eps``, black where it is ``-eps``, in each colour.

    Args:
        rows: clean first; every array for the images of this figure, at most ``PER_FIGURE``.
        indices: ``(N,)``, in the test split.
        labels: ``(N,)``, the true classes.
        names: of the classes; may be empty.
        eps: the budget, pixel scale.
        title: of the figure.
    """
    texts = [[_said(row.predicted[k], int(labels[k])) for k in range(len(labels))] for row in rows]
    pitch = _SIDE + _BETWEEN + _LINE * max(len(lines) for row in texts for lines in row)
    key = _key({*labels.tolist(), *(k for row in rows for k in row.predicted.ravel().tolist())}, names)
    below = _TOP + pitch * len(rows)
    height = below + _LINE * len(key)
    with mpl.rc_context(RC | {"font.size": 8, "axes.grid": False}):
        figure = Figure(figsize=(_WIDTH, height))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.text(0.03, 0.12, shorten(title, 52), fontsize=RC["axes.titlesize"], fontweight="bold", va="center")
        for k, (index, label) in enumerate(zip(indices, labels, strict=True)):
            left = _LABELS + k * _PAIR
            axes.text(left, 0.32, f"test image {index}", va="center")
            axes.text(left, 0.45, f"class {class_name(int(label), names, 12)}", va="center", fontweight="bold")
            for number, row in enumerate(rows):
                _pair(axes, row, k, eps, left, _TOP + number * pitch, texts[number][k])
        for number, row in enumerate(rows):
            lines = "\n".join(shorten(line, 18) for line in row.title)
            axes.text(0.03, _TOP + number * pitch, lines, va="top", linespacing=1.15)
        for number, line in enumerate(key):
            axes.text(0.03, below + number * _LINE, line, va="center")
        axes.set(xlim=(0, _WIDTH), ylim=(height, 0))
    return figure


def _key(classes: set[int], names: Sequence[str]) -> list[str]:
    """Lines that say what the numbers of ``classes`` stand for; none where they stand for themselves."""
    named = [class_name(k, names, 14).replace(" ", NBSP) for k in sorted(classes)]
    return textwrap.wrap(", ".join(name for name in named if NBSP in name), _KEY_CHARACTERS)


def _pair(axes: mpl.axes.Axes, row: Row, k: int, eps: float, left: float, top: float, lines: list[str]) -> None:
    show(axes, row.images[k], (left, left + _SIDE, top + _SIDE, top))
    if row.tier != "clean":
        beside = left + _SIDE + _GAP
        show(axes, (1 + row.perturbation[k] / eps) / 2, (beside, beside + _SIDE, top + _SIDE, top))
    for number, line in enumerate(lines):
        weight = "bold" if number == 0 else "normal"
        axes.text(left, top + _SIDE + (number + 0.55) * _LINE, line, va="center", fontweight=weight)


def marked(predicted: int, label: int) -> str:
    """A predicted class, with a cross where it is wrong."""
    return f"{predicted}{'' if predicted == label else WRONG}"


def _said(predicted: npt.NDArray[np.integer[Any]], label: int) -> list[str]:
    """The ensemble's prediction in the first line, those of the sub-models in the others."""
    *members, whole = (marked(int(number), label) for number in predicted)
    lines = textwrap.wrap("subs " + " ".join(members), _CHARACTERS)
    return [f"ensemble{NBSP}{whole}", *lines]
