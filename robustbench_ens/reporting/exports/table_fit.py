"""How a table fits into one or two columns of a paper: which cells wrap or stack, and in which size."""

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

ONE, TWO = 237.0, 496.0
"""Width in points of one and of two columns."""
_LONGEST_NUMBER = 40  # characters; what is longer is text
_SHORT_TEXT = 14  # characters of a text that never wraps
_LEAST, _MOST = 14, 26  # characters that a column of longer text asks for
_LONG = 200  # characters of a cell beyond which its column gets no wider
_FILLED = 0.85  # of a line, as words and names break
_HEAD = 8  # characters that a heading may always have in one line


@dataclass(frozen=True)
class Fit:
    """How a table is set: ``wide`` over two columns, ``stacked`` with intervals below their numbers.

    Attributes:
        size: command of the size of its text.
        per_character: width of a character in points.
        gap: between columns, in points.
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
"""From the most readable on; the last is for tables that nothing else has room for."""


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading and its cells, as text."""

    head: str
    cells: Sequence[str]

    @property
    def numeric(self) -> bool:
        """Whether it holds numbers, perhaps with words in place of some."""
        filled = [cell for cell in self.cells if cell]
        numbers = [cell for cell in filled if NUMBER.match(cell)]
        many = 2 * len(numbers) >= len(filled) > 0 or all(len(cell) <= _SHORT_TEXT for cell in filled)
        return bool(numbers) and many and all(len(cell) <= _LONGEST_NUMBER for cell in numbers)

    @property
    def percent(self) -> bool:
        """Whether every number is in percent: then the heading says so, and the cells do not."""
        found = [match["percent"] for match in map(NUMBER.match, self.cells) if match is not None]
        return self.numeric and bool(found) and all(found)

    @property
    def title(self) -> str:
        """Its heading, with the unit that the cells lack."""
        return f"{self.head} (%)" if self.percent else self.head

    def padded(self, text: str, part: str) -> str:
        """Return a part of an interval or deviation, as wide as the widest of the column if these are percentages."""
        missing = self._longest[part] - len(text) if self.percent else 0
        return r"\phantom{0}" * missing + text

    @cached_property
    def _longest(self) -> dict[str, int]:
        found = [match for cell in self.cells for match in (INTERVAL.search(cell), STD.search(cell)) if match]
        parts = [(name, len(text)) for match in found for name, text in match.groupdict().items()]
        return {name: max(size for own, size in parts if own == name) for name, _ in parts}

    @property
    def wraps(self) -> bool:
        """Whether it is text that may be too long for one line."""
        return not self.numeric and max(map(len, self.cells), default=0) > _SHORT_TEXT

    def content(self, *, stacked: bool) -> int:
        """How many characters its cells ask for."""
        if not self.numeric:
            return max(map(len, self.cells), default=0)
        return max(_number_width(cell, stacked) for cell in self.cells if NUMBER.match(cell))

    def lines(self, text: str, *, stacked: bool) -> list[str]:
        """Return ``text``, of the heading or of a cell without number, in lines that fit."""
        return textwrap.wrap(text, max(_HEAD, self.content(stacked=stacked)), break_long_words=False) or [""]

    def width(self, *, stacked: bool) -> int:
        """How many characters it takes."""
        content = self.content(stacked=stacked)
        if self.wraps:
            content = min(max(content, _LEAST), _MOST)
        longest = max(map(len, self.lines(self.title, stacked=stacked)))
        return max(content, longest)


def _number_width(cell: str, stacked: bool) -> int:
    interval = INTERVAL.search(cell)
    if not stacked or interval is None:
        return len(cell.replace("%", ""))
    below = round(0.75 * len(interval.group().strip()))
    return max(below, len(INTERVAL.sub("", cell).replace("%", "")))


def columns_of(frame: pd.DataFrame) -> list[Column]:
    """Return the columns of a table of text."""
    return [Column(str(name), frame.iloc[:, place].tolist()) for place, name in enumerate(frame.columns)]


def fit(columns: Sequence[Column]) -> Fit:
    """Return the first of ``FITS`` that has room for the columns, else the last."""
    return next((one for one in FITS if _needed(columns, one) <= (TWO if one.wide else ONE)), FITS[-1])


def shares(columns: Sequence[Column], one: Fit) -> list[int]:
    """Return how many characters each column gets: numbers what they ask for, longer text a share of the rest."""
    flexible = [column.wraps for column in columns]
    weights = [sqrt(min(max(column.content(stacked=False), _LEAST), _LONG)) * column.wraps for column in columns]
    room = (TWO if one.wide else ONE) - sum(one.gap for _ in columns)
    fixed = [0 if wraps else column.width(stacked=one.stacked) for column, wraps in zip(columns, flexible, strict=True)]
    rest = max(0.0, room / one.per_character - sum(fixed))
    return [
        max(_LEAST, round(rest * weight / sum(weights))) if weight else taken
        for weight, taken in zip(weights, fixed, strict=True)
    ]


def lines_of(columns: Sequence[Column], one: Fit, row: int) -> int:
    """Return about how many lines a row takes."""
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
