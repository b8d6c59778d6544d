"""What a report consists of, before it is Markdown or HTML: sections of blocks. Plain text throughout, never markup."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import pandas as pd

from robustbench_ens.reporting.filters import Facts


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
    """A figure as SVG text.

    ``name`` is its file's name without the suffix, ``alt`` says in words what it shows, ``facts`` what it is about, for
    the filters of the page.
    """

    name: str
    svg: str
    alt: str
    facts: Facts = field(default_factory=dict)


@dataclass(frozen=True)
class Figures:
    """Figures side by side where the page is wide enough."""

    figures: list[FigureBlock]
    caption: str = ""
    type: ClassVar[str] = "figures"


@dataclass(frozen=True)
class Listing:
    """Text with its line breaks: a command or settings; shown on demand under ``title`` where there is one."""

    text: str
    title: str = ""
    type: ClassVar[str] = "listing"


Block = Paragraph | Bullets | Table | Figures | Listing


@dataclass(frozen=True)
class Section:
    """A heading with its blocks; ``anchor`` is its identifier in the page."""

    title: str
    anchor: str
    blocks: list[Block] = field(default_factory=list)
