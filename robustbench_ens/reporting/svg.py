"""Drawings as SVG text, for files and for pages. The same drawing gives the same bytes."""

from __future__ import annotations

import base64
import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import PIL.Image

from robustbench_ens.reporting.scene import (
    TIP_LINE,
    Anchor,
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
    wrapped,
)
from robustbench_ens.reporting.style import INK, RC

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_IMAGE_ID = re.compile(r'(<image [^>]*) id="[^"]*"')
_REFERENCE = re.compile(r'(\bid="|href="#|url\(#)')

ON_PAGE = {
    "ink": "currentColor",
    "soft": "var(--soft)",
    "rule": "var(--line)",
    "panel": "var(--panel)",
    "ground": "var(--ground)",
}
"""The colour of each role on a page, where they are variables of its style sheet."""
ON_WHITE = {"ink": INK, "soft": "#59616e", "rule": "#d9dde3", "panel": "#f5f6f8", "ground": "#ffffff"}
"""The colour of each role on white paper."""


def to_svg(figure: Figure) -> str:
    """Return a matplotlib figure as SVG with real text, a transparent ground, and neither a date nor random names."""
    import matplotlib as mpl  # takes a second, and only sections from outside need it

    buffer = io.StringIO()
    with mpl.rc_context(RC), warnings.catch_warnings():
        # The reader's fonts draw the text, so a glyph that is missing from our font for measuring is no error.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    # Identifiers of images are digests of their pixels, so equal images on one page would share one.
    text = _IMAGE_ID.sub(r"\1", buffer.getvalue())
    return text[text.index("<svg") :]


def standalone(drawing: Scene | Figure) -> str:
    """Return a drawing as a file. Its ground is white because Markdown viewers may show it on any colour."""
    if isinstance(drawing, Scene):
        return f'<?xml version="1.0" encoding="utf-8"?>\n{_Writer(ON_WHITE).scene(drawing)}\n'
    head, rest = to_svg(drawing).split(">", 1)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{head}><rect width="100%" height="100%" fill="#ffffff"/>{rest}'


def inline(drawing: Scene | Figure, prefix: str, link: Callable[[str], str] = str) -> str:
    """Return a drawing as part of an HTML page.

    Its ink has the colour of the page's text, and identifiers start with ``prefix``. The global rule that matplotlib
    writes into ``<style>`` is removed because it would style the whole page. The page's style sheet has it for figures
    only.

    Args:
        drawing: the figure.
        prefix: the prefix of identifiers. A scene has no identifiers.
        link: returns the address of a page, relative to this one, from its path in the report.
    """
    if isinstance(drawing, Scene):
        return _Writer(ON_PAGE, link).scene(drawing)
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", to_svg(drawing), flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>.*?</style>\s*", "", text, flags=re.DOTALL)
    text = _REFERENCE.sub(lambda found: f"{found.group(1)}{prefix}-", text)
    return text.replace(INK, "currentColor")


_BOLD = 1.12  # tips are bold, and bold text is wider


@dataclass(frozen=True)
class _Writer:
    """A writer of scenes. ``link`` is None in files, where marks have titles instead of tips and links."""

    colours: Mapping[str, str]
    link: Callable[[str], str] | None = None

    def scene(self, scene: Scene) -> str:
        size = f'width="{number(scene.width)}" height="{number(scene.height)}"'
        box = f'viewBox="0 0 {number(scene.width)} {number(scene.height)}"'
        if self.link is None:
            head = (
                f'<svg xmlns="http://www.w3.org/2000/svg" {size} {box} font-family="DejaVu Sans, Verdana, sans-serif">'
            )
            ground = '<rect width="100%" height="100%" fill="#ffffff"/>'
        else:
            head = f'<svg class="scene" {size} {box}>'
            ground = ""
        return f"{head}{ground}{''.join(self.marks(scene, _Tip(scene)))}</svg>"

    def marks(self, scene: Scene, tip: _Tip) -> Iterator[str]:
        for mark in scene.marks:
            yield self.mark(mark, tip)

    def mark(self, mark: Mark, tip: _Tip) -> str:
        match mark:
            case Group():
                return self.group(mark, tip)
            case Placed():
                inner = "".join(self.marks(mark.scene, tip.inside(mark)))
                return f'<g transform="translate({number(mark.x)} {number(mark.y)})">{inner}</g>'
            case Text():
                return self.text(mark)
            case Image():
                kept = 'style="image-rendering:pixelated" preserveAspectRatio="none"'
                return f'<image {_box(mark)} {kept} href="{png(mark.pixels)}"/>'
            case Line():
                dash = f' stroke-dasharray="{" ".join(map(number, mark.dash))}"' if mark.dash else ""
                style = self.paint("", mark.colour, mark.width, mark.opacity)
                return f'<path d="{"".join(_path(points) for points in mark.paths)}"{style}{dash}/>'
            case _:
                return self.area(mark)

    def area(self, mark: Shape | Circle | Rect) -> str:
        style = self.paint(mark.fill, mark.stroke, mark.width, mark.opacity)
        match mark:
            case Shape():
                return f'<path d="{_path(mark.points)}z"{style}/>'
            case Circle():
                return f'<circle cx="{number(mark.x)}" cy="{number(mark.y)}" r="{number(mark.radius)}"{style}/>'
            case Rect():
                round_corners = f' rx="{number(mark.radius)}"' if mark.radius else ""
                return f"<rect {_box(mark)}{round_corners}{style}/>"

    def group(self, group: Group, tip: _Tip) -> str:
        inner = "".join(self.mark(mark, tip) for mark in group.marks)
        if self.link is None:
            return f"<g><title>{escape(group.tip)}</title>{inner}</g>" if group.tip else f"<g>{inner}</g>"
        if group.page:
            # The text inside is the link's accessible name, so it needs no label.
            return f'<a class="mark" href="{escape(self.link(group.page))}">{inner}{tip.written(group.tip)}</a>'
        if not group.tip:
            return f"<g>{inner}</g>"
        return (
            f'<g class="mark" tabindex="0" role="img" aria-label="{escape(group.tip)}">'
            f"{inner}{tip.written(group.tip)}</g>"
        )

    def text(self, mark: Text) -> str:
        x = number(mark.x)
        y = number(mark.y)
        anchor = "" if mark.anchor == "start" else f' text-anchor="{mark.anchor}"'
        weight = ' font-weight="650"' if mark.bold else ""
        turned = f' transform="rotate({number(mark.angle)} {x} {y})"' if mark.angle else ""
        fill = self.colours.get(mark.colour, mark.colour)
        return (
            f'<text x="{x}" y="{y}" font-size="{number(mark.size)}" fill="{fill}"{anchor}{weight}{turned}>'
            f"{escape(mark.text, quote=False)}</text>"
        )

    def paint(self, fill: str, stroke: str, width: float, opacity: float) -> str:
        parts = [f' fill="{self.colours.get(fill, fill) or "none"}"']
        if stroke:
            parts.append(f' stroke="{self.colours.get(stroke, stroke)}" stroke-width="{number(width)}"')
        if opacity < 1:
            parts.append(f' opacity="{number(opacity)}"')
        return "".join(parts)


class _Tip:
    """The place where tips of a scene are written, relative to the scene or to one that is placed in it."""

    def __init__(self, scene: Scene) -> None:
        self.place: tuple[float, float, Anchor] | None = scene.tip_place
        self.size = scene.tip_size
        self.width = scene.width

    def inside(self, placed: Placed) -> _Tip:
        own = _Tip(placed.scene)
        if own.place is None and self.place is not None:
            x, y, anchor = self.place
            own.place = (x - placed.x, y - placed.y, anchor)
            own.size = self.size
            own.width = self.width
        return own

    def written(self, text: str) -> str:
        if self.place is None or not text:
            return ""
        x, y, anchor = self.place
        lines = wrapped(text, self.size * _BOLD, self.width)
        place = f'x="{number(x)}" y="{number(y)}" text-anchor="{anchor}" font-size="{number(self.size)}"'
        below = f'<tspan x="{number(x)}" dy="{TIP_LINE:g}em">'
        rest = "".join(f"{below}{escape(line, quote=False)}</tspan>" for line in lines[1:])
        return f'<text class="tip" aria-hidden="true" {place}>{escape(lines[0], quote=False)}{rest}</text>'


def number(value: float) -> str:
    """Return ``value`` with at most two decimals, as short as possible."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _box(mark: Rect | Image) -> str:
    return f'x="{number(mark.x)}" y="{number(mark.y)}" width="{number(mark.w)}" height="{number(mark.h)}"'


def _path(points: Sequence[Point]) -> str:
    first, *rest = points
    return f"M{number(first[0])} {number(first[1])}" + "".join(f"L{number(x)} {number(y)}" for x, y in rest)


def png(pixels: npt.NDArray[np.uint8]) -> str:
    """Return pixels ``(H, W, 3)`` as a data URL of a PNG."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
