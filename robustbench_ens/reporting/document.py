"""The parts of a report before it is Markdown or HTML: pages, sections and blocks, in plain text without markup."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import pandas as pd

from robustbench_ens.analysis.chosen_on import NOBODY, ChosenHere
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
    """A list of sentences, highlighted if it is a ``warning``."""

    items: list[str]
    warning: bool = False
    type: ClassVar[str] = "bullets"


@dataclass(frozen=True)
class Table:
    """A table of text.

    Args:
        frame: the cells.
        caption: states what the rates are rates of.
        group: the column whose values become headings of groups of rows in HTML, or empty.
        numeric: columns that are aligned to the right.
        stacked: on narrow screens, show each row as a list. It suits few rows of many columns.
        collapsed: show the table on demand.
        facts: the facts that hold for all rows, for the filters of the page. The page adds those that a row's cells
            name.
        chosen: the ensembles whose names are marked, and the note below the table.
    """

    frame: pd.DataFrame
    caption: str
    group: str = ""
    numeric: tuple[str, ...] = ()
    stacked: bool = False
    collapsed: bool = False
    facts: Facts = field(default_factory=dict)
    chosen: ChosenHere = NOBODY
    type: ClassVar[str] = "table"


@dataclass(frozen=True)
class FigureBlock:
    """A figure.

    Attributes:
        name: the name of its file without the suffix.
        drawing: a scene, or a matplotlib figure.
        alt: a description of what it shows.
        facts: the facts that hold for it, for the filters of the page.
        narrow: the same figure laid out for a narrow page, about 360 pixels wide. If None, ``drawing`` shrinks there.
        redraw: returns the same figure at a width in pixels, for columns of a paper. None if it has only one layout.
    """

    name: str
    drawing: Scene | Figure
    alt: str
    facts: Facts = field(default_factory=dict)
    narrow: Scene | None = None
    redraw: Callable[[float], Scene] | None = None


def figure_block(name: str, draw: Callable[[float], Scene], alt: str, width: float, facts: Facts) -> FigureBlock:
    """Return a figure that is laid out for a page ``width`` pixels wide, for narrow pages and for papers."""
    narrow = draw(NARROW) if width > NARROW else None
    return FigureBlock(name, draw(width), alt, facts, narrow, draw)


NARROW = 364.0
"""Width in pixels of the text on a page that is 400 pixels wide."""


@dataclass(frozen=True)
class Figures:
    """Figures, side by side if the page is wide enough."""

    figures: list[FigureBlock]
    caption: str = ""
    type: ClassVar[str] = "figures"


@dataclass(frozen=True)
class Span:
    """A piece of running text, emphasised if ``strong``."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Lead:
    """The main result, in large letters on top of a page."""

    spans: list[Span]
    type: ClassVar[str] = "lead"


@dataclass(frozen=True)
class Badge:
    """A fact in a few words. Its ``items``, if there are any, are shown on demand below ``intro``."""

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
    """Text with its line breaks, such as a command or settings. If it has a ``title``, it is shown on demand."""

    text: str
    title: str = ""
    type: ClassVar[str] = "listing"


Block = Paragraph | Bullets | Table | Figures | Listing | Lead | Badges | Links


@dataclass(frozen=True)
class Section:
    """A heading with its blocks. Its ``anchor`` identifies it in the page."""

    title: str
    anchor: str
    blocks: list[Block] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """A page of the report.

    Attributes:
        path: its path in the folder of the report, without suffix: ``index``, ``ensembles/digits-dverge-3``.
        title: its heading.
        about: one line under the heading.
        sections: its sections, in order.
        filtered: true if readers can restrict its tables and figures to some datasets or protocols.
    """

    path: str
    title: str
    about: str = ""
    sections: list[Section] = field(default_factory=list)
    filtered: bool = False
