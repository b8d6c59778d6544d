"""Cells of heatmaps: a value as a colour and a number, with a tip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from robustbench_ens.reporting.figures.colours import on
from robustbench_ens.reporting.scene import RULE, SOFT, Line, Point, Rect, Scene, text_width, wrapped

FRAME = "#f0860a"
"""The colour of frames, which contrasts with every fill on light and dark pages."""

_KEY_SIZE = 11.0
_KEY_LINE = 15.0
_SIZES = (12.0, 11.0, 10.0, 9.0, 8.0, 7.0)


@dataclass(frozen=True)
class Cell:
    """A cell of a heatmap.

    Attributes:
        fill: its colour. Without a value it is empty, and only an outline is drawn.
        text: its text, which is drawn if there is room.
        tip: the text that appears on hover or focus.
        bold: true if the text is bold.
        hatched: true if lines run across the cell.
        framed: true if the cell has a frame.
    """

    fill: str = ""
    text: str = ""
    tip: str = ""
    bold: bool = False
    hatched: bool = False
    framed: bool = False


@dataclass(frozen=True)
class Box:
    """The position and size of a cell."""

    x: float
    y: float
    w: float
    h: float


def size_in(w: float, h: float, widest: str, *, bold: bool = False) -> float | None:
    """Return the size at which ``widest`` fits into a cell of ``w`` x ``h``, or None if no readable size fits."""
    fits = (size for size in _SIZES if size <= h - 3 and text_width(widest, size, bold=bold) <= w - 3)
    return next(fits, None)


def draw_cell(scene: Scene, box: Box, cell: Cell, size: float | None) -> None:
    """Draw a cell with a gap of a pixel around it.

    Args:
        scene: the drawing.
        box: the position and size.
        cell: the cell.
        size: the size of its text, see :func:`size_in`. If None, the text is not drawn.
    """
    if not cell.fill:
        scene.add(Rect(box.x + 1, box.y + 1, box.w - 2, box.h - 2, stroke=RULE))
        return
    held = Box(box.x + 0.5, box.y + 0.5, box.w - 1, box.h - 1)
    ink = on(cell.fill)
    with scene.marked(cell.tip):
        scene.add(Rect(held.x, held.y, held.w, held.h, cell.fill, radius=2))
        if cell.hatched:
            scene.add(Line(_hatches(held), ink, 0.8, opacity=0.3))
        if cell.framed:
            scene.add(Rect(held.x + 1, held.y + 1, held.w - 2, held.h - 2, "", FRAME, 2.0, radius=2))
        if cell.text and size is not None:
            middle = (box.x + box.w / 2, box.y + box.h / 2 + 0.36 * size)
            scene.text(*middle, cell.text, size=size, colour=ink, anchor="middle", bold=cell.bold)


def _hatches(box: Box, gap: float = 7.0) -> list[list[Point]]:
    """Return lines from the lower left to the upper right, cut off at the edges."""
    lines: list[list[Point]] = []
    start = gap
    while start < box.w + box.h:
        lower = (box.x + max(0.0, start - box.h), box.y + min(start, box.h))
        upper = (box.x + min(start, box.w), box.y + max(0.0, start - box.w))
        lines.append([lower, upper])
        start += gap
    return lines


def legend(scene: Scene, y: float, colour: Callable[[float], str], ends: tuple[str, str], meaning: str) -> float:
    """Draw the colours of a scale from 0 to 1 between the texts of its ends, and return its lower end.

    Args:
        scene: the drawing.
        y: the baseline of its first line.
        colour: returns the colour of a share in [0, 1].
        ends: the texts of the two ends.
        meaning: the meaning of the cells, which is wrapped.
    """
    low, high = ends
    scene.text(0, y, low, size=_KEY_SIZE, colour=SOFT)
    left = text_width(low, _KEY_SIZE) + 6
    steps = 12
    for step in range(steps):
        scene.add(Rect(left + 8 * step, y - 9, 8.3, 10, colour((step + 0.5) / steps)))
    right = left + 8 * steps + 6
    scene.text(right, y, high, size=_KEY_SIZE, colour=SOFT)
    start = right + text_width(high, _KEY_SIZE) + 6
    if text_width(meaning, _KEY_SIZE) > scene.width - start:
        start = 0.0
        y += _KEY_LINE
    lines = wrapped(meaning, _KEY_SIZE, scene.width - start)
    for number, line in enumerate(lines):
        scene.text(start, y + number * _KEY_LINE, line, size=_KEY_SIZE, colour=SOFT)
    return y + (len(lines) - 0.5) * _KEY_LINE
