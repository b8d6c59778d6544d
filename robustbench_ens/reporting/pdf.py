"""Drawings as PDF for papers: vectors with embedded fonts, as wide as one or two columns; the same bytes each time."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from robustbench_ens.core.text import printable
from robustbench_ens.reporting.document import NARROW, FigureBlock
from robustbench_ens.reporting.scene import Circle, Group, Image, Line, Mark, Placed, Rect, Scene, Shape, Text
from robustbench_ens.reporting.style import RC
from robustbench_ens.reporting.svg import ON_WHITE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS = 72.0
"""In an inch."""
PIXELS = 96.0
"""CSS pixels in an inch."""

ONE_COLUMN = 3.3 * POINTS
TWO_COLUMNS = 6.9 * POINTS
SMALLEST_TEXT = 6.0
"""In points."""
_WIDE = 800.0  # pixels at which figures of a page have their wide layout, and text of 12 is 7.5 points high
_MARGIN = 4.0  # pixels above and below the marks: a page has room for tips there

_PDF = {"pdf.fonttype": 42, "pdf.compression": 6}  # TrueType: journals refuse Type 3
_METADATA = {"Creator": None, "Producer": None, "CreationDate": None}
_MISSING = "\N{REPLACEMENT CHARACTER}"
_PLACE = {"start": "left", "middle": "center", "end": "right"}


def figure_pdf(figure: FigureBlock, width: float) -> bytes:
    """Return a figure as PDF.

    Args:
        figure: a scene is laid out anew for the column, or scaled to it if it has but one layout. A matplotlib figure
            keeps its own size.
        width: of the column, in points.
    """
    import matplotlib as mpl  # takes a second, and only papers need it

    drawing = laid_out(figure, width)
    buffer = io.BytesIO()
    with mpl.rc_context(RC | _PDF), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        drawn = _figure(drawing, width) if isinstance(drawing, Scene) else drawing
        drawn.savefig(buffer, format="pdf", transparent=True, metadata=_METADATA)
    return buffer.getvalue()


def laid_out(figure: FigureBlock, width: float) -> Scene | Figure:
    """Return the drawing that a column ``width`` points wide shows.

    Its text is at least ``SMALLEST_TEXT`` high if the figure can be redrawn.
    """
    if not isinstance(figure.drawing, Scene):
        return figure.drawing
    if figure.redraw is None:
        return figure.narrow if figure.narrow is not None and width < TWO_COLUMNS else figure.drawing
    page = min(figure.drawing.width, _WIDE if width >= TWO_COLUMNS else NARROW)
    pixels = max(page, width * PIXELS / POINTS)
    scene = figure.redraw(pixels)
    readable = width * min(sizes(scene.marks), default=SMALLEST_TEXT * PIXELS) / SMALLEST_TEXT
    return scene if pixels <= readable else figure.redraw(readable)


def sizes(marks: Sequence[Mark]) -> Iterator[float]:
    """Yield the size of each text among ``marks``, in CSS pixels."""
    for mark in marks:
        match mark:
            case Text():
                yield mark.size
            case Group():
                yield from sizes(mark.marks)
            case Placed():
                yield from sizes(mark.scene.marks)


def heights(marks: Sequence[Mark], down: float = 0.0) -> Iterator[float]:
    """Yield heights, in CSS pixels from the top, between which the marks lie."""
    for mark in marks:
        match mark:
            case Group():
                yield from heights(mark.marks, down)
            case Placed():
                yield from heights(mark.scene.marks, down + mark.y)
            case Text():
                yield from (down + mark.y - mark.size, down + mark.y + 0.3 * mark.size)
            case Line():
                yield from (down + y for points in mark.paths for _, y in points)
            case Shape():
                yield from (down + y for _, y in mark.points)
            case Circle():
                yield from (down + mark.y - mark.radius, down + mark.y + mark.radius)
            case Rect() | Image():
                yield from (down + mark.y, down + mark.y + mark.h)


def _figure(scene: Scene, width: float) -> Figure:
    from matplotlib.figure import Figure

    scale = width / scene.width
    drawn = list(heights(scene.marks)) or [0.0, scene.height]
    top = max(0.0, min(drawn) - _MARGIN)
    bottom = min(scene.height, max(drawn) + _MARGIN)
    figure = Figure(figsize=(width / POINTS, scale * (bottom - top) / POINTS))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, scene.width), ylim=(bottom, top), autoscale_on=False)
    _Drawer(axes, scale).marks(scene.marks)
    return figure


@dataclass(frozen=True)
class _Drawer:
    """Draws marks on axes in CSS pixels; ``scale`` is points per pixel, ``x`` and ``y`` where the scene is placed."""

    axes: Axes
    scale: float
    x: float = 0.0
    y: float = 0.0

    def marks(self, marks: Sequence[Mark]) -> None:
        for mark in marks:
            self.mark(mark)

    def mark(self, mark: Mark) -> None:
        match mark:
            case Group():
                self.marks(mark.marks)
            case Placed():
                _Drawer(self.axes, self.scale, self.x + mark.x, self.y + mark.y).marks(mark.scene.marks)
            case Text():
                self.text(mark)
            case Image():
                self.image(mark)
            case Line():
                self.lines(mark)
            case _:
                self.area(mark)

    def above(self) -> int:
        """The place of a mark above all that are drawn: matplotlib would draw lines above areas."""
        return len(self.axes.get_children())

    def style(self, opacity: float) -> dict[str, Any]:
        return {"alpha": opacity, "clip_on": False, "zorder": self.above()}

    def lines(self, line: Line) -> None:
        style = self.style(line.opacity) | {"color": _colour(line.colour), "lw": line.width * self.scale}
        if line.dash:
            style["linestyle"] = (0, tuple(length / line.width for length in line.dash))
        for points in line.paths:
            xs, ys = zip(*points, strict=True)
            across = [self.x + x for x in xs]
            down = [self.y + y for y in ys]
            self.axes.plot(across, down, solid_capstyle="butt", dash_capstyle="butt", **style)

    def area(self, mark: Shape | Circle | Rect) -> None:
        from matplotlib import patches

        style = self.style(mark.opacity) | {
            "facecolor": _colour(mark.fill),
            "edgecolor": _colour(mark.stroke),
            "lw": mark.width * self.scale if mark.stroke else 0,
        }
        made: patches.Patch
        match mark:
            case Shape():
                made = patches.Polygon([(self.x + x, self.y + y) for x, y in mark.points], closed=True, **style)
            case Circle():
                made = patches.Circle((self.x + mark.x, self.y + mark.y), mark.radius, **style)
            case Rect() if mark.radius:
                box = f"round,pad=0,rounding_size={mark.radius}"
                made = patches.FancyBboxPatch((self.x + mark.x, self.y + mark.y), mark.w, mark.h, boxstyle=box, **style)
            case Rect():
                made = patches.Rectangle((self.x + mark.x, self.y + mark.y), mark.w, mark.h, **style)
        self.axes.add_patch(made)

    def text(self, mark: Text) -> None:
        self.axes.text(
            self.x + mark.x,
            self.y + mark.y,
            in_font(mark.text),
            fontsize=mark.size * self.scale,
            color=_colour(mark.colour),
            ha=_PLACE[mark.anchor],
            va="baseline",
            fontweight="bold" if mark.bold else "normal",
            rotation=-mark.angle,
            rotation_mode="anchor",
            zorder=self.above(),
        )

    def image(self, mark: Image) -> None:
        left = self.x + mark.x
        top = self.y + mark.y
        extent = (left, left + mark.w, top + mark.h, top)
        self.axes.imshow(mark.pixels, extent=extent, interpolation="none", aspect="auto", zorder=self.above())


def _colour(name: str) -> str:
    return ON_WHITE.get(name, name) or "none"


def in_font(text: str) -> str:
    """Return ``text`` with a replacement for each character that the font lacks."""
    return "".join(c if ord(c) in _glyphs() else _MISSING for c in printable(text))


@cache
def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(code for code in get_font(findfont("DejaVu Sans")).get_charmap() if code <= 0xFFFF)
