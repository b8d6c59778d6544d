"""Drawings as PDF for papers: vectors with embedded fonts, as wide as one or two columns.

The same drawing gives the same bytes.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from math import cos, radians, sin
from typing import TYPE_CHECKING

from robustbench_ens.core.text import printable
from robustbench_ens.reporting.document import NARROW, FigureBlock
from robustbench_ens.reporting.pdf_file import Resources, pdf_file
from robustbench_ens.reporting.pdf_fonts import USUAL, font
from robustbench_ens.reporting.scene import (
    Circle,
    Group,
    Image,
    Line,
    Mark,
    Placed,
    Point,
    Rect,
    Scene,
    Shape,
    Text,
)
from robustbench_ens.reporting.style import RC
from robustbench_ens.reporting.svg import ON_WHITE, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 72.0
"""Points per inch."""
PIXELS = 96.0
"""CSS pixels per inch."""

ONE_COLUMN = 3.3 * POINTS
TWO_COLUMNS = 6.9 * POINTS
SMALLEST_TEXT = 6.0
"""The smallest height of text, in points."""
_WIDE = 800.0  # the width in pixels of the wide layout, in which text of 12 pixels becomes 7.5 points high
_MARGIN = 4.0  # pixels above and below the marks, which replace the room for tips on a page

_TRUE_TYPE = {"pdf.fonttype": 42}  # journals reject Type 3 fonts
_METADATA = {"Creator": None, "Producer": None, "CreationDate": None}
_BEZIER = 0.5523  # 4/3 (sqrt(2) - 1): the distance of the control points that approximates a quarter of a circle


def figure_pdf(figure: FigureBlock, width: float) -> bytes:
    """Return a figure as PDF.

    Args:
        figure: the figure. A scene is laid out for the column, or scaled to it if it has only one layout. A matplotlib
            figure keeps its size.
        width: the width of the column, in points.
    """
    drawing = laid_out(figure, width)
    return scene_pdf(drawing, width) if isinstance(drawing, Scene) else _matplotlib_pdf(drawing)


def _matplotlib_pdf(figure: Figure) -> bytes:
    import matplotlib as mpl  # takes a second, and only sections from outside need it

    buffer = io.BytesIO()
    with mpl.rc_context(RC | _TRUE_TYPE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        figure.savefig(buffer, format="pdf", transparent=True, metadata=_METADATA)
    return buffer.getvalue()


def laid_out(figure: FigureBlock, width: float) -> Scene | Figure:
    """Return the drawing for a column that is ``width`` points wide.

    Its text is at least ``SMALLEST_TEXT`` high if the figure can be redrawn.
    """
    if not isinstance(figure.drawing, Scene):
        return figure.drawing
    if figure.redraw is None:
        return figure.narrow if figure.narrow is not None and width < TWO_COLUMNS else figure.drawing
    page = min(figure.drawing.width, _WIDE if width >= TWO_COLUMNS else NARROW)
    pixels = max(page, width * PIXELS / POINTS)
    scene = figure.redraw(pixels)
    # The widest layout in which the smallest text is still SMALLEST_TEXT high once it is scaled to the column.
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
    """Yield vertical positions, in CSS pixels from the top, whose range covers the marks."""
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


def scene_pdf(scene: Scene, width: float) -> bytes:
    """Return a scene as PDF, ``width`` points wide, without empty space above and below."""
    scale = width / scene.width
    drawn = list(heights(scene.marks)) or [0.0, scene.height]
    top = max(0.0, min(drawn) - _MARGIN)
    bottom = min(scene.height, max(drawn) + _MARGIN)
    drawer = _Drawer(frozenset(texts(scene.marks)))
    drawer.marks(scene.marks)
    # PDF has its origin at the bottom left, scenes at the top left: the vertical axis is reversed.
    to_page = f"{scale:.5f} 0 0 {-scale:.5f} 0 {scale * bottom:.5f} cm 1 j"
    return pdf_file(width, scale * (bottom - top), [to_page, *drawer.operators], drawer.resources)


def texts(marks: Sequence[Mark]) -> Iterator[str]:
    """Yield the characters of all texts among ``marks`` that are not in ``USUAL``."""
    for mark in marks:
        match mark:
            case Text():
                yield from set(printable(mark.text)) - USUAL
            case Group():
                yield from texts(mark.marks)
            case Placed():
                yield from texts(mark.scene.marks)


class _Drawer:
    """A writer of marks as operators of a page on which x and y are CSS pixels from the top left."""

    def __init__(self, others: frozenset[str]) -> None:
        self.others = others
        self.operators: list[str] = []
        self.resources = Resources()

    def marks(self, marks: Sequence[Mark]) -> None:
        for mark in marks:
            match mark:
                case Group():
                    self.marks(mark.marks)
                case Placed():
                    self.operators.append(f"q 1 0 0 1 {_at(mark.x, mark.y)} cm")
                    self.marks(mark.scene.marks)
                    self.operators.append("Q")
                case Text():
                    self.text(mark)
                case Image():
                    self.image(mark)
                case Line():
                    dash = " ".join(map(number, mark.dash))
                    self.path(" ".join(map(_path, mark.paths)), "", mark.colour, mark.width, mark.opacity, dash)
                case Shape():
                    self.path(_path(mark.points) + " h", mark.fill, mark.stroke, mark.width, mark.opacity)
                case Circle():
                    self.path(_circle(mark), mark.fill, mark.stroke, mark.width, mark.opacity)
                case Rect():
                    self.path(_rectangle(mark), mark.fill, mark.stroke, mark.width, mark.opacity)

    def path(self, path: str, fill: str, stroke: str, width: float, opacity: float, dash: str = "") -> None:
        if not (fill or stroke):
            return
        parts = ["q"]
        if opacity < 1:
            parts.append(f"/{self.named(self.resources.opacities, opacity, 'G')} gs")
        if fill:
            parts.append(f"{_colour(fill)} rg")
        if stroke:
            parts.append(f"{_colour(stroke)} RG {number(width)} w")
        if dash:
            parts.append(f"[{dash}] 0 d")
        paint = "B" if fill and stroke else "f" if fill else "S"
        self.operators.append(" ".join([*parts, path, paint, "Q"]))

    def text(self, mark: Text) -> None:
        # PDF cannot anchor text: its start is computed from the width that the embedded font gives it.
        chosen = font(mark.bold, self.others)
        name = "F1" if mark.bold else "F0"
        self.resources.fonts.setdefault(name, chosen)
        back = {"start": 0.0, "middle": 0.5, "end": 1.0}[mark.anchor] * mark.size * chosen.width(mark.text)
        across = cos(radians(mark.angle))
        down = sin(radians(mark.angle))
        place = _at(mark.x - back * across, mark.y - back * down)
        turned = f"{across:.5f} {down:.5f} {down:.5f} {-across:.5f}"  # reverses the axis again, so letters are upright
        glyphs = "".join(f"{glyph:04x}" for glyph in chosen.numbers(mark.text))
        colour = f"{_colour(mark.colour)} rg"
        self.operators.append(f"BT {colour} /{name} {number(mark.size)} Tf {turned} {place} Tm <{glyphs}> Tj ET")

    def image(self, mark: Image) -> None:
        name = f"I{len(self.resources.images)}"
        self.resources.images[name] = mark.pixels
        box = f"{number(mark.w)} 0 0 {number(-mark.h)} {_at(mark.x, mark.y + mark.h)}"
        self.operators.append(f"q {box} cm /{name} Do Q")

    def named(self, known: dict[str, float], value: float, letter: str) -> str:
        """Return the name of a value, and add a new name if it has none."""
        name = next((name for name, there in known.items() if there == value), f"{letter}{len(known)}")
        known[name] = value
        return name


def _at(x: float, y: float) -> str:
    return f"{number(x)} {number(y)}"


def _path(points: Sequence[Point]) -> str:
    first, *rest = points
    return " ".join([f"{_at(*first)} m", *(f"{_at(*point)} l" for point in rest)])


def _circle(mark: Circle) -> str:
    size = 2 * mark.radius
    return _rounded(mark.x - mark.radius, mark.y - mark.radius, size, size, mark.radius)


def _rectangle(mark: Rect) -> str:
    radius = min(mark.radius, mark.w / 2, mark.h / 2)
    if radius <= 0:
        return f"{_at(mark.x, mark.y)} {_at(mark.w, mark.h)} re"
    return _rounded(mark.x, mark.y, mark.w, mark.h, radius)


def _rounded(x: float, y: float, w: float, h: float, radius: float) -> str:
    """Return the path of a rectangle whose corners are quarters of a circle, clockwise from the upper left."""
    far = (1 - _BEZIER) * radius
    right = x + w
    low = y + h
    corners = [
        ((right - far, y), (right, y + far), (right, y + radius), (right - radius, y)),
        ((right, low - far), (right - far, low), (right - radius, low), (right, low - radius)),
        ((x + far, low), (x, low - far), (x, low - radius), (x + radius, low)),
        ((x, y + far), (x + far, y), (x + radius, y), (x, y + radius)),
    ]
    parts = [f"{_at(x + radius, y)} m"]
    for first, second, end, start in corners:
        parts.append(f"{_at(*start)} l {_at(*first)} {_at(*second)} {_at(*end)} c")
    return " ".join([*parts, "h"])


def _colour(name: str) -> str:
    text = ON_WHITE.get(name, name)
    return " ".join(f"{int(text[at : at + 2], 16) / 255:.3f}" for at in (1, 3, 5))
