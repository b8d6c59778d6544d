"""Tidy tables as CSV, with one row per observation, plain numbers, and units in the headings."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from robustbench_ens.core.text import printable
from robustbench_ens.reporting.collect import Collection

FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "'")
"""The beginnings of texts that a spreadsheet may run as a formula, and the sign that prevents it."""

_DIGITS = 12
"""The number of significant digits. The rounding errors of 100 times a rate come after them."""

_IN_HUNDREDTHS = ("_percent", "_points")


@dataclass(frozen=True)
class Column:
    """A column of a tidy table.

    Attributes:
        name: its heading. ``_percent`` and ``_points`` hold 100 times a rate or a difference of rates.
        meaning: its content, in a few words.
        source: the column of the frame that it is taken from. If empty, it is the one of the same name, without unit.
    """

    name: str
    meaning: str
    source: str = ""

    def values(self, frame: pd.DataFrame) -> list[Any]:
        """Return its cells."""
        unit = next((unit for unit in _IN_HUNDREDTHS if self.name.endswith(unit)), "")
        values = frame[self.source or self.name.removesuffix(unit)].tolist()
        return [cell(value, 100 if unit else 1) for value in values]


@dataclass(frozen=True)
class Tidy:
    """A table to be written: the file's name without suffix, the meaning of a row, its columns, and its rows."""

    name: str
    about: str
    columns: Sequence[Column]
    rows: Callable[[Collection], pd.DataFrame]

    def text(self, collection: Collection) -> str:
        """Return the table as CSV. A table without rows has only its heading."""
        frame = self.rows(collection)
        cells = [column.values(frame) if len(frame) else [] for column in self.columns]
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(column.name for column in self.columns)
        writer.writerows(zip(*cells, strict=True))
        return buffer.getvalue()


def cell(value: Any, scale: int = 1) -> str:
    """Return one cell. Several values are joined by ``; ``, and missing values are empty."""
    if isinstance(value, tuple):
        return text_cell("; ".join(part if isinstance(part, str) else cell(part) for part in value))
    if value is None or pd.isna(value):
        return ""
    if isinstance(value, str):
        return text_cell(value)
    if isinstance(value, int):  # includes truth values
        return str(value if scale == 1 else scale * value)
    return f"{scale * value:.{_DIGITS}g}"


def text_cell(value: str) -> str:
    """Return text on one line, with an apostrophe before anything that a spreadsheet may take for a formula."""
    line = printable(value)
    return f"'{line}" if line.lstrip().startswith(FORMULA) else line
