"""A gallery of clean and adversarial images with their perturbations and the predictions on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from robustbench_ens.reporting.figures.pictures import class_name, pixels
from robustbench_ens.reporting.figures.tips import leave_room
from robustbench_ens.reporting.scene import SOFT, Image, Scene, fitted, wrapped

WRONG = "✗"
PER_FIGURE = 3
"""The number of images side by side."""

WIDTH = 590.0
"""The width of one figure on a wide page, in pixels."""

_NARROW = 480.0  # below this width, the names of variants are above their rows
_LABELS = 118.0  # pixels for the names of variants beside their rows
_LINE = 14.0
_SIZE = 11.0
_TOP = 56.0


@dataclass(frozen=True)
class Row:
    """One variant of all images.

    Args:
        tier: ``clean``, ``whitebox`` or ``blackbox``.
        attack, loss, restart: the values in outcomes.
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
        """The name of the variant, line by line."""
        if self.tier == "clean":
            return ["clean"]
        start = [f"start {self.restart}"] if self.restart else []
        return [{"whitebox": "white-box", "blackbox": "black-box"}[self.tier], self.attack, self.loss, *start]


@dataclass(frozen=True)
class Pictured:
    """The images of a figure: their indices in the test split, true classes, the classes' names, and eps."""

    indices: npt.NDArray[np.integer[Any]]
    labels: npt.NDArray[np.integer[Any]]
    names: Sequence[str]
    eps: float


@dataclass(frozen=True)
class _Grid:
    """The layout of the pairs: the first column, the width of a pair, the side of an image, room for a name above."""

    left: float
    pitch: float
    side: float
    above: float


def gallery(rows: Sequence[Row], of: Pictured, title: str, width: float) -> Scene:
    """Return a column per image and a row per variant, with the image, its perturbation and the predictions.

    In each colour, a perturbation of 0 is grey, ``+eps`` is white and ``-eps`` is black.

    Args:
        rows: the variants, clean first. Every array holds the images of this figure, at most ``PER_FIGURE``.
        of: the images.
        title: the title of the figure.
        width: the width in pixels.
    """
    above = 16.0 if width < _NARROW else 0.0
    left = 0.0 if above else _LABELS
    pitch = (width - left) / PER_FIGURE
    grid = _Grid(left, pitch, min(64.0, (pitch - 16) / 2), above)
    scene = Scene(width, _TOP)
    scene.text(0, 14, fitted(title, 13, width, bold=True), size=13, bold=True)
    for k, (index, label) in enumerate(zip(of.indices, of.labels, strict=True)):
        x = left + k * pitch
        scene.text(x, 34, fitted(f"test image {index}", _SIZE, pitch - 4), size=_SIZE, colour=SOFT)
        named = f"class {class_name(int(label), of.names, 14)}"
        scene.text(x, 48, fitted(named, _SIZE, pitch - 4, bold=True), size=_SIZE, bold=True)
    y = _TOP
    # The height of a row follows from its longest list of predictions, so rows are placed one after the other.
    for row in rows:
        _name(scene, row, grid, y)
        lines = max(_pair(scene, row, k, of, grid, y + above) for k in range(len(of.labels)))
        below = grid.side + _LINE * lines
        y += above + max(below, 0.0 if above else _LINE * len(row.title)) + 12
    classes = {*of.labels.tolist(), *(k for row in rows for k in row.predicted.ravel().tolist())}
    for line in _key(classes, of.names, width):
        y += _LINE
        scene.text(0, y, line, size=_SIZE, colour=SOFT)
    leave_room(scene, y + 6)
    return scene


def _name(scene: Scene, row: Row, grid: _Grid, y: float) -> None:
    if grid.above:
        scene.text(0, y + 11, fitted(", ".join(row.title), _SIZE, scene.width), size=_SIZE)
        return
    for number, line in enumerate(row.title):
        scene.text(0, y + 11 + number * _LINE, fitted(line, _SIZE, _LABELS - 8), size=_SIZE)


def _key(classes: set[int], names: Sequence[str], width: float) -> list[str]:
    """Return lines with the names of ``classes``, or none if their names are their numbers."""
    named = [class_name(k, names, 14) for k in sorted(classes)]
    text = ", ".join(name for name in named if " " in name)
    return wrapped(text, _SIZE, width) if text else []


def _pair(scene: Scene, row: Row, k: int, of: Pictured, grid: _Grid, y: float) -> int:
    """Draw an image and its perturbation, and below them the predictions, the ensemble's first.

    Returns:
        the number of lines that the predictions take.
    """
    x = grid.left + k * grid.pitch
    label = int(of.labels[k])
    *members, whole = (int(number) for number in row.predicted[k])
    first = f"ensemble {marked(whole, label)}"
    subs = "subs " + " ".join(marked(member, label) for member in members)
    tip = f"{', '.join(row.title)}: the ensemble predicts {class_name(whole, of.names, 24)}"
    with scene.marked(tip if whole == label else f"{tip}, which is wrong"):
        scene.add(Image(x, y, grid.side, grid.side, pixels(row.images[k])))
        if row.tier != "clean":
            added = pixels((1 + row.perturbation[k] / of.eps) / 2)
            scene.add(Image(x + grid.side + 4, y, grid.side, grid.side, added))
    lines = [first, *wrapped(subs, _SIZE, grid.pitch - 4)]
    for number, line in enumerate(lines):
        scene.text(x, y + grid.side + 12 + number * _LINE, line, size=_SIZE, bold=number == 0)
    return len(lines)


def marked(predicted: int, label: int) -> str:
    """Return a predicted class, with a cross if it is wrong."""
    return f"{predicted}{'' if predicted == label else WRONG}"
