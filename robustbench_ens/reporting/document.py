"""What a report consists of, before it is Markdown or HTML: sections of blocks. Plain text throughout, never markup."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import pandas as pd

from robustbench_ens.reporting.filters import Facts
from robustbench_ens.reporting.scene import Scene

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str
    type: ClassVar[str] = "paragraph"


@dataclass(frozen=True)
class Bullets:
    """A list of sentences; ``warning`` sets it off."""

    items: list[str]
    warning: bool = False
    type: ClassVar[str] = "bullets"


@dataclass(frozen=True)
class Table:
    """A table of text.

    Args:
        frame: the cells.
        caption: says what the rates are rates of.
        group: the column whose values become headings of groups of rows in HTML; empty for none.
        numeric: columns aligned to the right.
        stacked: on narrow screens each row becomes a list of its own, for few rows of many columns.
        collapsed: shown on demand.
        facts: what all rows are about, for the filters of the page; the page adds what a row's cells name.
    """

    frame: pd.DataFrame
    caption: str
    group: str = ""
    numeric: tuple[str, ...] = ()
    stacked: bool = False
    collapsed: bool = False
    facts: Facts = field(default_factory=dict)
    type: ClassVar[str] = "table"


@dataclass(frozen=True)
class FigureBlock:
    """A figure.

    Attributes:
        name: its file's name without the suffix.
        drawing: a scene, or a matplotlib figure.
        alt: says in words what it shows.
        facts: what it is about, for the filters of the page.
        narrow: the same laid out for a narrow page, about 360 pixels wide; ``drawing`` shrinks there if None.
        redraw: returns the same figure at a width in pixels, for columns of a paper; None if it has but one layout.
    """

    name: str
    drawing: Scene | Figure
    alt: str
    facts: Facts = field(default_factory=dict)
    narrow: Scene | None = None
    redraw: Callable[[float], Scene] | None = None


def figure_block(name: str, draw: Callable[[float], Scene], alt: str, width: float, facts: Facts) -> FigureBlock:
    """Return a figure that is laid out for a page ``width`` pixels wide, and anew for narrow ones and for papers."""
    narrow = draw(NARROW) if width > NARROW else None
    return FigureBlock(name, draw(width), alt, facts, narrow, draw)


NARROW = 364.0
"""Width in pixels of the text on a page of 400."""


@dataclass(frozen=True)
class Figures:
    """Figures side by side where the page is wide enough."""

    figures: list[FigureBlock]
    caption: str = ""
    type: ClassVar[str] = "figures"


@dataclass(frozen=True)
class Span:
    """A piece of running text; ``strong`` sets it off."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Lead:
    """What the reader should take away, in large letters on top of a page."""

    spans: list[Span]
    type: ClassVar[str] = "lead"


@dataclass(frozen=True)
class Badge:
    """A fact in a few words; ``items``, if there are any, are shown on demand below ``intro``."""

    text: str
    level: Literal["ok", "warn", "plain"] = "plain"
    items: list[str] = field(default_factory=list)
    intro: str = ""


@dataclass(frozen=True)
class Badges:
    """Badges side by side."""

    badges: list[Badge]
    type: ClassVar[str] = "badges"


@dataclass(frozen=True)
class Link:
    """A link to another page of the report, by its path without suffix: ``details/comparison``."""

    text: str
    page: str
    note: str = ""


@dataclass(frozen=True)
class Links:
    """Links to other pages of the report, side by side."""

    links: list[Link]
    type: ClassVar[str] = "links"


@dataclass(frozen=True)
class Listing:
    """Text with its line breaks: a command or settings; shown on demand under ``title`` where there is one."""

    text: str
    title: str = ""
    type: ClassVar[str] = "listing"


Block = Paragraph | Bullets | Table | Figures | Listing | Lead | Badges | Links


@dataclass(frozen=True)
class Section:
    """A heading with its blocks; ``anchor`` is its identifier in the page."""

    title: str
    anchor: str
    blocks: list[Block] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """A page of the report.

    Attributes:
        path: its place in the folder of the report, without suffix: ``index``, ``ensembles/digits-dverge-3``.
        title: its heading.
        about: one line under the heading.
        sections: what it holds, in order.
        filtered: whether readers can narrow its tables and figures to some datasets or protocols.
    """

    path: str
    title: str
    about: str = ""
    sections: list[Section] = field(default_factory=list)
    filtered: bool = False
