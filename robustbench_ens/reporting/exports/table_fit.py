"""The layout of a table in one or two columns of a paper: cells that wrap or stack, and the size of the text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, sqrt

import pandas as pd

from robustbench_ens.core.text import NBSP

NUMBER = re.compile(rf"(?P<value>(?:<{NBSP})?[+\N{{MINUS SIGN}}]?\d[\d.,]*)(?P<percent>%?)")
INTERVAL = re.compile(rf" \[(?P<low>[^,\[\]]+),{NBSP}(?P<high>[^,\[\]]+)\]")
STD = re.compile(rf"{NBSP}±{NBSP}(?P<std>\d[\d.]*)")

ONE = 237.0
"""The width of one column in points."""
TWO = 496.0
"""The width of two columns in points."""
_LONGEST_NUMBER = 40  # characters; longer cells are text
_SHORT_TEXT = 14  # characters of a text that never wraps
_LEAST = 14  # the least characters that a column of longer text requests
_MOST = 26  # the most characters that it requests
_LONG = 200  # characters of a cell beyond which its column gets no wider
_FILLED = 0.85  # the filled part of a line on average, since words and names break
_HEAD = 8  # characters that a heading may always have in one line


@dataclass(frozen=True)
class Fit:
    """A layout: ``wide`` covers two columns, and ``stacked`` puts intervals below their numbers.

    Attributes:
        size: the command for the size of its text.
        per_character: the width of a character in points.
        gap: the gap between columns in points.
    """

    wide: bool
    stacked: bool
    size: str
    per_character: float
    gap: float


FITS = (
    Fit(False, False, r"\footnotesize", 4.2, 6),
    Fit(True, False, r"\footnotesize", 4.2, 8),
    Fit(True, False, r"\scriptsize", 3.8, 6),
    Fit(True, True, r"\footnotesize", 4.2, 6),
    Fit(True, True, r"\scriptsize", 3.8, 5),
    Fit(True, True, r"\tiny", 3.2, 3),
)
"""The layouts, the most readable first. The last is used for tables that fit into no other."""


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading and its cells, as text."""

    head: str
    cells: Sequence[str]

    @property
    def numeric(self) -> bool:
        """True if it holds numbers. Some of its cells may hold words instead."""
        filled = [cell for cell in self.cells if cell]
        numbers = [cell for cell in filled if NUMBER.match(cell)]
        many = 2 * len(numbers) >= len(filled) > 0 or all(len(cell) <= _SHORT_TEXT for cell in filled)
        return bool(numbers) and many and all(len(cell) <= _LONGEST_NUMBER for cell in numbers)

    @property
    def percent(self) -> bool:
        """True if every number is in percent. Then the heading has the sign, and the cells have none."""
        found = [match["percent"] for match in map(NUMBER.match, self.cells) if match is not None]
        return self.numeric and bool(found) and all(found)

    @property
    def title(self) -> str:
        """The heading, with the unit that the cells lack."""
        return f"{self.head} (%)" if self.percent else self.head

    def padded(self, text: str, part: str) -> str:
        """Return a part of an interval or deviation, padded to the widest one of a column of percentages."""
        missing = self._longest[part] - len(text) if self.percent else 0
        return r"\phantom{0}" * missing + text

    @cached_property
    def _longest(self) -> dict[str, int]:
        found = [match for cell in self.cells for match in (INTERVAL.search(cell), STD.search(cell)) if match]
        parts = [(name, len(text)) for match in found for name, text in match.groupdict().items()]
        return {name: max(size for own, size in parts if own == name) for name, _ in parts}

    @property
    def wraps(self) -> bool:
        """True if it is text that may be too long for one line."""
        return not self.numeric and max(map(len, self.cells), default=0) > _SHORT_TEXT

    def content(self, *, stacked: bool) -> int:
        """Return the number of characters that its cells need."""
        if not self.numeric:
            return max(map(len, self.cells), default=0)
        return max(_number_width(cell, stacked) for cell in self.cells if NUMBER.match(cell))

    def lines(self, text: str, *, stacked: bool) -> list[str]:
        """Return the text of the heading, or of a cell without a number, in lines that fit."""
        return textwrap.wrap(text, max(_HEAD, self.content(stacked=stacked)), break_long_words=False) or [""]

    def width(self, *, stacked: bool) -> int:
        """Return the number of characters that the column needs."""
        content = self.content(stacked=stacked)
        if self.wraps:
            content = min(max(content, _LEAST), _MOST)
        longest = max(map(len, self.lines(self.title, stacked=stacked)))
        return max(content, longest)


def _number_width(cell: str, stacked: bool) -> int:
    interval = INTERVAL.search(cell)
    if not stacked or interval is None:
        return len(cell.replace("%", ""))
    # Stacked intervals are set in a smaller size, about three quarters of the number's.
    below = round(0.75 * len(interval.group().strip()))
    return max(below, len(INTERVAL.sub("", cell).replace("%", "")))


def columns_of(frame: pd.DataFrame) -> list[Column]:
    """Return the columns of a table of text."""
    return [Column(str(name), frame.iloc[:, place].tolist()) for place, name in enumerate(frame.columns)]


def fit(columns: Sequence[Column]) -> Fit:
    """Return the first of ``FITS`` that has room for the columns, or the last."""
    return next((one for one in FITS if _needed(columns, one) <= (TWO if one.wide else ONE)), FITS[-1])


def shares(columns: Sequence[Column], one: Fit) -> list[int]:
    """Return the number of characters of each column.

    Columns of numbers get what they need, and columns of longer text share the rest.
    """
    flexible = [column.wraps for column in columns]
    # The square root keeps one long column from starving the others.
    weights = [sqrt(min(max(column.content(stacked=False), _LEAST), _LONG)) * column.wraps for column in columns]
    room = (TWO if one.wide else ONE) - sum(one.gap for _ in columns)
    fixed = [0 if wraps else column.width(stacked=one.stacked) for column, wraps in zip(columns, flexible, strict=True)]
    rest = max(0.0, room / one.per_character - sum(fixed))
    return [
        max(_LEAST, round(rest * weight / sum(weights))) if weight else taken
        for weight, taken in zip(weights, fixed, strict=True)
    ]


def lines_of(columns: Sequence[Column], one: Fit, row: int) -> int:
    """Return the approximate number of lines of a row."""
    lines = [1]
    for column, room in zip(columns, shares(columns, one), strict=True):
        text = column.cells[row]
        if column.wraps:
            lines.append(ceil(len(text) / (_FILLED * room)))
        elif one.stacked and column.numeric and INTERVAL.search(text):
            lines.append(2)
    return max(lines)


def _needed(columns: Sequence[Column], one: Fit) -> float:
    return sum(one.per_character * column.width(stacked=one.stacked) + one.gap for column in columns)
