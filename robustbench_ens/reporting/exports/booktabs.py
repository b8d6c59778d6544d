"""Tables of text as LaTeX with booktabs. Intervals and deviations are commands that a paper may redefine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from robustbench_ens.analysis.health import MARK
from robustbench_ens.reporting.exports.latex_text import latex
from robustbench_ens.reporting.exports.table_fit import (
    INTERVAL,
    NUMBER,
    STD,
    Column,
    Fit,
    columns_of,
    fit,
    lines_of,
    shares,
)

MOST_LINES = 56
"""The most lines of rows in one float, since a page has hardly room for more."""

COMMANDS = r"""% Needs booktabs and tabularx. These commands may be defined otherwise before the table is read.
\providecommand{\rbeinterval}[3]{#1~{[}#2,~#3{]}}
\providecommand{\rbestackedinterval}[3]{\begin{tabular}[t]{@{}r@{}}#1\\[-0.5ex]{\tiny{[}#2,~#3{]}}\end{tabular}}
\providecommand{\rbestd}[2]{#1~$\pm$~#2}
"""


UNHEALTHY = latex(MARK.strip())
"""The sign of a number that rests on an unhealthy attack."""


@dataclass(frozen=True)
class LatexTable:
    """A table of a paper.

    Attributes:
        name: the name of its file, without suffix, and of its label.
        caption: its content, units, n and seeds, as plain text.
        frame: the cells, as text.
        bold: cells (row, column) in bold, counted from 0.
        signs: signs after cells, in LaTeX.
        notes: the meaning of each sign as plain text, in the order below the table.
        group: the number of leading columns that are written only if one of their values changes.
    """

    name: str
    caption: str
    frame: pd.DataFrame
    bold: frozenset[tuple[int, int]] = frozenset()
    signs: Mapping[tuple[int, int], str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    group: int = 0


def table_tex(table: LatexTable) -> str:
    """Return the content of a file for ``\\input``: one float, or several if the rows do not fit on a page."""
    columns = columns_of(table.frame)
    chosen = fit(columns)
    parts = list(_parts(columns, chosen, len(table.frame)))
    floats = [_float(table, columns, chosen, rows, (at, len(parts))) for at, rows in enumerate(parts, start=1)]
    return COMMANDS + "\n" + "\n".join(floats)


def _parts(columns: Sequence[Column], chosen: Fit, rows: int) -> Iterator[range]:
    """Yield ranges of rows that fit on a page."""
    start = 0
    used = 0
    for row in range(rows):
        needed = lines_of(columns, chosen, row)
        if used and used + needed > MOST_LINES:
            yield range(start, row)
            start = row
            used = 0
        used += needed
    yield range(start, rows)


def _float(table: LatexTable, columns: Sequence[Column], chosen: Fit, rows: range, part: tuple[int, int]) -> str:
    """Return the float with the rows of ``part``, which is its number and the number of parts."""
    # Only the first part has the table's own label, which references in a paper use.
    number, parts = part
    environment = "table*" if chosen.wide else "table"
    caption = table.caption if parts == 1 else f"{table.caption} Part {number} of {parts}."
    label = table.name if number == 1 else f"{table.name}-{number}"
    lines = [
        rf"\begin{{{environment}}}[tbp]",
        r"\centering",
        r"\setlength{\abovecaptionskip}{0pt}\setlength{\belowcaptionskip}{6pt}",
        rf"\caption{{{latex(caption)}}}",
        rf"\label{{tab:{label}}}",
        rf"{chosen.size}\setlength{{\tabcolsep}}{{{chosen.gap / 2:g}pt}}",
        rf"\begin{{tabularx}}{{\linewidth}}{{@{{}}{_spec(columns, chosen)}@{{}}}}",
        r"\toprule",
        _row([_head(column, chosen) for column in columns]),
        r"\midrule",
        *_body(table, columns, chosen, rows),
        r"\bottomrule",
        r"\end{tabularx}",
        *(rf"\par\raggedright {sign}\,{latex(note)}" for sign, note in table.notes.items()),
        rf"\end{{{environment}}}",
        "",
    ]
    return "\n".join(lines)


def _spec(columns: Sequence[Column], chosen: Fit) -> str:
    """Return the column specification of tabularx, in which longer texts share the remaining width."""
    flexible = [column.wraps for column in columns]
    if not any(flexible):
        return "X" + "".join("r" if column.numeric else "l" for column in columns[1:])
    rooms = shares(columns, chosen)
    mean = sum(room for room, wraps in zip(rooms, flexible, strict=True) if wraps) / sum(flexible)
    parts = []
    for column, room in zip(columns, rooms, strict=True):
        wide = rf">{{\hsize={room / mean:.2f}\hsize\raggedright\arraybackslash}}X"
        parts.append(wide if column.wraps else "r" if column.numeric else "l")
    return "".join(parts)


def _body(table: LatexTable, columns: Sequence[Column], chosen: Fit, rows: range) -> list[str]:
    lines: list[str] = []
    before: list[str] = []
    for row in rows:
        texts = [_cell(table, column, chosen, (row, place)) for place, column in enumerate(columns)]
        own = [str(column.cells[row]) for column in columns[: table.group]]
        if own and own == before:
            texts[: table.group] = [""] * table.group
        elif own and before:
            lines.append(r"\addlinespace")
        before = own
        lines.append(_row(texts))
    return lines


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _head(column: Column, chosen: Fit) -> str:
    if column.wraps:
        return latex(column.title)
    return _stacked(column.lines(column.title, stacked=chosen.stacked), "r" if column.numeric else "l", "b")


def _cell(table: LatexTable, column: Column, chosen: Fit, place: tuple[int, int]) -> str:
    text = str(column.cells[place[0]])
    signs = table.signs.get(place, "")
    if column.numeric and text.endswith(MARK):
        text = text.removesuffix(MARK)
        signs = UNHEALTHY + signs
    made = _number(column, text, chosen) if column.numeric else latex(text)
    made = rf"{{\bfseries {made}}}" if place in table.bold else made
    return rf"{made}\rlap{{{signs}}}" if signs else made  # \rlap has no width, so numbers stay aligned


def _number(column: Column, text: str, chosen: Fit) -> str:
    """Return a number with its interval or deviation. Words that replace a number are wrapped."""
    found = NUMBER.match(text)
    if found is None:
        return _stacked(column.lines(text, stacked=chosen.stacked), "r", "t")
    rest = text[found.end() :]
    value = latex(found["value"] + ("" if column.percent else found["percent"]))
    interval = INTERVAL.match(rest)
    std = STD.match(rest)
    if interval is not None:
        low = latex(interval["low"])
        high = latex(interval["high"])
        if chosen.stacked:
            made = rf"\rbestackedinterval{{{value}}}{{{low}}}{{{high}}}"
        else:
            made = rf"\rbeinterval{{{value}}}{{{column.padded(low, 'low')}}}{{{column.padded(high, 'high')}}}"
        return made + latex(rest[interval.end() :])
    if std is not None:
        return rf"\rbestd{{{value}}}{{{column.padded(std['std'], 'std')}}}" + latex(rest[std.end() :])
    return value + latex(rest)


def _stacked(lines: Sequence[str], side: str, edge: str) -> str:
    if len(lines) == 1:
        return latex(lines[0])
    return rf"\begin{{tabular}}[{edge}]{{@{{}}{side}@{{}}}}" + r"\\".join(map(latex, lines)) + r"\end{tabular}"
