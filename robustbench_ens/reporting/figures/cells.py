"""Cells of heatmaps: a value as a colour and a number, with a tip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from robustbench_ens.reporting.figures.colours import on
from robustbench_ens.reporting.scene import RULE, SOFT, Line, Point, Rect, Scene, text_width, wrapped

FRAME = "#f0860a"
"""Stands out from every fill, on light and dark pages."""

_KEY_SIZE = 11.0
_KEY_LINE = 15.0
_SIZES = (12.0, 11.0, 10.0, 9.0, 8.0, 7.0)


@dataclass(frozen=True)
class Cell:
    """A cell of a heatmap.

    Attributes:
        fill: its colour; none if there is no value, which draws an outline.
        text: what stands in it, if there is room.
        tip: what hovering or focusing shows.
        bold: whether the text is.
        hatched: whether lines run across it.
        framed: whether it has a frame.
    """

    fill: str = ""
    text: str = ""
    tip: str = ""
    bold: bool = False
    hatched: bool = False
    framed: bool = False


@dataclass(frozen=True)
class Box:
    """Where a cell lies."""

    x: float
    y: float
    w: float
    h: float


def size_in(w: float, h: float, widest: str, *, bold: bool = False) -> float | None:
    """Return the size of text for all cells of ``w`` x ``h``, so that ``widest`` fits; None if no size is readable."""
    fits = (size for size in _SIZES if size <= h - 3 and text_width(widest, size, bold=bold) <= w - 3)
    return next(fits, None)


def draw_cell(scene: Scene, box: Box, cell: Cell, size: float | None) -> None:
    """Draw a cell with a gap of a pixel around it.

    Args:
        scene: what it is drawn into.
        box: where.
        cell: what.
        size: of its text, which is left out if None; see :func:`size_in`.
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
    """Draw the colours of a scale from 0 to 1 between the texts of its ends, and return where it ends below.

    Args:
        scene: what it is drawn into.
        y: the baseline of its first line.
        colour: from a share in [0, 1].
        ends: the texts.
        meaning: of the cells, as many lines as it needs.
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
