"""Light drawings for pages, files and papers: marks in CSS pixels from the top left.

A figure is a function that returns a :class:`Scene`. It takes a ``width``, so that the same figure can be laid out for
a wide page, a narrow page and a column of a paper. :mod:`svg` writes a scene as SVG, and :mod:`pdf` writes it as PDF.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from robustbench_ens.core.text import printable

# Colours by role, which follow the page's theme: text, secondary text, grid lines, a light area, the ground. Every
# other colour is ``#rrggbb`` and must be readable on light and dark pages.
INK = "ink"
SOFT = "soft"
RULE = "rule"
PANEL = "panel"
GROUND = "ground"

Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class Line:
    """Open lines through points, one for each of ``paths``. ``dash`` holds the lengths of strokes and gaps."""

    paths: Sequence[Sequence[Point]]
    colour: str = INK
    width: float = 1.0
    dash: Sequence[float] = ()
    opacity: float = 1.0


@dataclass(frozen=True)
class Shape:
    """A closed polygon through points. An empty ``fill`` or ``stroke`` is not drawn."""

    points: Sequence[Point]
    fill: str = ""
    stroke: str = ""
    width: float = 1.0
    opacity: float = 1.0


@dataclass(frozen=True)
class Circle:
    """A circle around ``(x, y)``."""

    x: float
    y: float
    radius: float
    fill: str = ""
    stroke: str = ""
    width: float = 1.0
    opacity: float = 1.0


@dataclass(frozen=True)
class Rect:
    """A rectangle whose upper left corner is ``(x, y)``, with corners rounded by ``radius``."""

    x: float
    y: float
    w: float
    h: float
    fill: str = ""
    stroke: str = ""
    width: float = 1.0
    opacity: float = 1.0
    radius: float = 0.0


@dataclass(frozen=True)
class Text:
    """One line of text with its baseline at ``y``, turned clockwise around ``(x, y)`` by ``angle`` degrees."""

    x: float
    y: float
    text: str
    size: float = 12.0
    colour: str = INK
    anchor: Anchor = "start"
    bold: bool = False
    angle: float = 0.0


@dataclass(frozen=True)
class Image:
    """An image of pixels, uint8 ``(H, W, 3)``, drawn without smoothing."""

    x: float
    y: float
    w: float
    h: float
    pixels: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Group:
    """Marks that a reader can point at.

    Attributes:
        marks: the marks.
        tip: the text that appears on hover or focus, such as ``DVERGE, white-box: 13.5% ± 4.4, n = 500, 3 seeds``.
        page: the page that a click opens, by its path in the report, such as ``ensembles/digits-dverge-3``.
    """

    marks: list[Mark] = field(default_factory=list)
    tip: str = ""
    page: str = ""


@dataclass(frozen=True)
class Placed:
    """Another scene, with its upper left corner at ``(x, y)``."""

    scene: Scene
    x: float
    y: float


Mark = Line | Shape | Circle | Rect | Text | Image | Group | Placed


class Scene:
    """A drawing of ``width`` x ``height`` CSS pixels.

    Marks are drawn in the order in which they are added.

    Attributes:
        marks: the marks, in drawing order.
        tip_place: x, first baseline and anchor of the tip of the mark that is hovered or focused. Leave
            :func:`tip_room` there, since tips that are wider than the drawing are wrapped.
        tip_size: the size of that text.
    """

    def __init__(self, width: float, height: float, tip_place: tuple[float, float, Anchor] | None = None) -> None:
        self.width = width
        self.height = height
        self.tip_place = tip_place
        self.tip_size = 12.0
        self.marks: list[Mark] = []
        self._open: list[list[Mark]] = [self.marks]

    def add(self, *marks: Mark) -> None:
        """Draw marks above those already drawn."""
        self._open[-1].extend(marks)

    def line(self, points: Sequence[Point], colour: str = INK, **style: Any) -> None:
        """Draw a :class:`Line` through ``points``."""
        self.add(Line([points], colour, **style))

    def text(self, x: float, y: float, text: object, **style: Any) -> None:
        """Draw a :class:`Text`."""
        self.add(Text(x, y, printable(text), **style))

    def place(self, scene: Scene, x: float, y: float) -> None:
        """Draw another scene."""
        self.add(Placed(scene, x, y))

    @contextmanager
    def marked(self, tip: str = "", page: str = "") -> Iterator[None]:
        """Collect all marks that are added inside this context in one :class:`Group`."""
        group = Group([], printable(tip), page)
        self.add(group)
        self._open.append(group.marks)
        try:
            yield
        finally:
            self._open.pop()

    def groups(self) -> Iterator[Group]:
        """Yield the groups, including those of placed scenes and those inside other groups."""
        yield from _groups(self.marks)


Draw = Callable[[float], Scene]
"""A function that draws a figure at a width in pixels."""


def _groups(marks: Sequence[Mark]) -> Iterator[Group]:
    for mark in marks:
        if isinstance(mark, Placed):
            yield from mark.scene.groups()
        elif isinstance(mark, Group):
            yield mark
            yield from _groups(mark.marks)


# Advance widths of DejaVu Sans in thousandths of the font size, from blank to tilde. Text that fits in this wide font
# fits in those of most systems.
_ADVANCES = (
    "318 401 460 838 636 950 780 275 390 390 500 838 318 361 318 337 636 636 636 636 636 636 636 636 636 "
    "636 337 337 838 838 838 531 1000 684 686 698 770 632 575 775 752 295 295 656 557 863 748 787 603 787 "
    "695 635 611 732 684 989 685 611 685 390 337 390 838 500 500 613 635 550 635 615 352 635 634 278 278 "
    "579 278 974 634 612 635 635 411 521 392 634 592 818 592 592 525 636 337 636 838 "
)
_WIDTHS = [int(advance) for advance in _ADVANCES.split()]
_OTHER = 1000  # an upper bound for other characters, such as Chinese ones
_NARROW = {"\N{NO-BREAK SPACE}": 318, "±": 838, "–": 500, "·": 318, "×": 838, "…": 1000, "−": 838}
_BOLD = 1.12


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Return an upper bound of the width of one line of text, in CSS pixels."""
    return _thousandths(text) * size / 1000 * (_BOLD if bold else 1.0)


@lru_cache(maxsize=1 << 16)
def _thousandths(text: str) -> int:
    return sum(_WIDTHS[ord(letter) - 32] if " " <= letter <= "~" else _NARROW.get(letter, _OTHER) for letter in text)


TIP_LINE = 1.25
"""The distance from one line of a tip to the next, in font sizes."""


def tip_room(width: float) -> float:
    """Return the height that tips need in a drawing that is ``width`` pixels wide."""
    return 20.0 if width >= 700 else 48.0


def wrapped(text: str, size: float, width: float) -> list[str]:
    """Return ``text`` in lines that are at most ``width`` wide, broken at blanks. Longer words are shortened."""
    if text_width(text, size) <= width:
        return [text]
    blank = text_width(" ", size)
    lines: list[str] = []
    end = width
    for word in text.split(" "):
        held = fitted(word, size, width)
        own = text_width(held, size)
        if end + blank + own <= width:
            lines[-1] += f" {held}"
            end += blank + own
        else:
            lines.append(held)
            end = own
    return lines


def fitted(text: object, size: float, width: float, *, bold: bool = False) -> str:
    """Return ``text``, shortened in the middle if it is wider than ``width``."""
    whole = printable(text)
    if text_width(whole, size, bold=bold) <= width:
        return whole

    def short(kept: int) -> str:
        tail = kept // 2
        return whole[: kept - tail] + "…" + (whole[-tail:] if tail else "")

    # The width grows with the number of kept characters, so that bisection finds the most that fit.
    kept = bisect_left(range(1, len(whole)), True, key=lambda count: text_width(short(count), size, bold=bold) > width)
    return short(kept)
