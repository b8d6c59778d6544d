"""Curves: lines with markers, bars and bands, each with its name at the right end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from robustbench_ens.core.text import printable
from robustbench_ens.reporting.figures.axes import TICK_SIZE, Axis, Plot
from robustbench_ens.reporting.figures.labels import spread
from robustbench_ens.reporting.figures.marks import marker
from robustbench_ens.reporting.figures.tips import leave_room
from robustbench_ens.reporting.scene import SOFT, Line, Scene, Shape, fitted, text_width
from robustbench_ens.reporting.style import Look

WIDTH = 720.0
"""The width of one figure of curves on a wide page, in pixels."""

HALF = 590.0
"""The width of one of two figures side by side."""

TITLE_SIZE = 13.0
LABEL_SIZE = 11.5
_GAP = 15.0  # pixels between the baselines of two labels
_HEAD = 44.0  # for the title and the label of the vertical axis
_FOOT = 36.0  # for ticks and the label of the horizontal axis
_MARKER_ROOM = 26.0  # from the end of the plot to a name
_WIDEST_NAME = 0.36  # of the figure


@dataclass(frozen=True)
class Dot:
    """A point of a curve.

    Attributes:
        x, y: its position in the units of the axes. A ``y`` that is not finite is not drawn.
        tip: the text that appears on hover or focus.
        low, high: ends of its interval, which bands join.
        bar: half the length of its bar, such as a standard deviation.
    """

    x: float
    y: float
    tip: str = ""
    low: float = math.nan
    high: float = math.nan
    bar: float = 0.0


@dataclass(frozen=True)
class Curve:
    """A line through dots.

    Attributes:
        name: the label at its right end, or an empty text for no label.
        look: its colour, marker and dash.
        dots: its points, in the order of the line.
        page: the page of the report that its name links to.
        style: ``marked`` has a marker and a tip at each dot. ``plain`` and ``faint`` are lines only.
    """

    name: str
    look: Look
    dots: Sequence[Dot] = field(default_factory=tuple)
    page: str = ""
    style: Literal["marked", "plain", "faint"] = "marked"

    @property
    def drawn(self) -> list[Dot]:
        """The dots that can be drawn."""
        return [dot for dot in self.dots if math.isfinite(dot.x) and math.isfinite(dot.y)]


@dataclass(frozen=True)
class Mark:
    """A value of the horizontal axis that is marked by a dashed line. The curves' values at it are beside the names."""

    value: float
    text: str


def curves(lines: Sequence[Curve], title: str, axes: tuple[Axis, Axis], mark: Mark | None, width: float) -> Scene:
    """Return lines between axes, with the name of each at its right end.

    Args:
        lines: the curves. Those without dots are not drawn.
        title: the title of the figure.
        axes: the horizontal and the vertical axis.
        mark: a dashed line, if any.
        width: the width in pixels.
    """
    named = [curve for curve in lines if curve.name and curve.drawn]
    numbers = text_width("100.0", LABEL_SIZE) + 8 if mark else 0.0
    widest = max((text_width(curve.name, LABEL_SIZE) for curve in named), default=0.0)
    names = min(widest, _WIDEST_NAME * width) + 2
    gutter = _MARKER_ROOM + names + numbers if named else 8.0
    across, up = axes
    left = 10 + max(text_width(text, TICK_SIZE) for _, text in up.ticks)
    right = width - gutter
    height = max(min(0.62 * (right - left), 300.0), 150.0, _GAP * len(named))
    plot = Plot(left, _HEAD, right, _HEAD + height, across, up)
    scene = Scene(width, _HEAD + height + _FOOT)
    scene.text(0, 14, fitted(title, TITLE_SIZE, width, bold=True), size=TITLE_SIZE, bold=True)
    scene.text(0, 32, fitted(up.label, TICK_SIZE, right), size=TICK_SIZE, colour=SOFT)
    plot.draw(scene)
    if mark is not None and across.low <= mark.value <= across.high:
        x = plot.x(mark.value)
        scene.line([(x, plot.top - 4), (x, plot.bottom)], SOFT, dash=(2, 3))
    shade = min(0.13, 1.3 / max(1, len(lines)))  # opaque bands of many lines would hide the lines
    for curve in lines:
        _draw_line(scene, plot, curve, shade)
    for curve in lines:
        _draw_dots(scene, plot, curve)
    _draw_names(scene, plot, named, names, mark)
    leave_room(scene, plot.bottom + _FOOT)
    return scene


def _draw_line(scene: Scene, plot: Plot, curve: Curve, shade: float) -> None:
    dots = curve.drawn
    banded = [dot for dot in dots if math.isfinite(dot.low) and math.isfinite(dot.high)]
    if len(banded) > 1:
        above = [(plot.x(dot.x), plot.y(dot.high)) for dot in banded]
        below = [(plot.x(dot.x), plot.y(dot.low)) for dot in reversed(banded)]
        scene.add(Shape([*above, *below], curve.look.colour, opacity=shade))
    if len(dots) > 1:
        points = [(plot.x(dot.x), plot.y(dot.y)) for dot in dots]
        if curve.style == "faint":
            scene.line(points, curve.look.colour, width=0.8, opacity=0.4)
        else:
            dash = tuple(1.6 * length for length in curve.look.line[1])
            scene.line(points, curve.look.colour, width=1.8, dash=dash)


def _draw_dots(scene: Scene, plot: Plot, curve: Curve) -> None:
    if curve.style != "marked":
        return
    for dot in curve.drawn:
        x = plot.x(dot.x)
        y = plot.y(dot.y)
        with scene.marked(dot.tip):
            if dot.bar > 0:
                above = plot.y(dot.y + dot.bar)
                below = plot.y(dot.y - dot.bar)
                caps = [[(x - 3, end), (x + 3, end)] for end in (above, below)]
                scene.add(Line([[(x, above), (x, below)], *caps], curve.look.colour, 1.2))
            scene.add(*marker(x, y, curve.look, 3.8))


def _draw_names(scene: Scene, plot: Plot, named: Sequence[Curve], room: float, mark: Mark | None) -> None:
    """Write the names from top to bottom in the order of the lines' ends, and of their values at the mark if equal."""

    def height(curve: Curve) -> tuple[float, float]:
        at = None if mark is None else _at(curve, mark.value)
        return plot.y(curve.drawn[-1].y), -(at.y if at else 0.0)

    if mark is not None and any(_at(curve, mark.value) for curve in named):
        scene.text(scene.width, plot.top - 12, mark.text, size=TICK_SIZE, colour=SOFT, anchor="end")
    ordered = sorted(named, key=height)
    places = spread([height(curve)[0] for curve in ordered], _GAP, plot.top + 4, plot.bottom)
    for curve, y in zip(ordered, places, strict=True):
        last = plot.y(curve.drawn[-1].y)
        start = plot.right + 9
        leader = [(plot.x(curve.drawn[-1].x) + 5, last), (plot.right + 6, last), (start + 4, y)]
        scene.line(leader, curve.look.colour, width=0.8, opacity=0.7)
        short = fitted(curve.name, LABEL_SIZE, room)
        with scene.marked("" if short == printable(curve.name) else curve.name, curve.page):
            scene.add(*marker(start + 5, y, curve.look))
            scene.text(plot.right + _MARKER_ROOM - 4, y + 4, short, size=LABEL_SIZE)
        at = None if mark is None else _at(curve, mark.value)
        if at is not None:
            scene.text(scene.width, y + 4, f"{at.y:.1f}", size=LABEL_SIZE, anchor="end")


def _at(curve: Curve, value: float) -> Dot | None:
    return next((dot for dot in curve.drawn if math.isclose(dot.x, value)), None)
