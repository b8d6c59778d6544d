"""The rows of tables as HTML and as Markdown.

They are not written by templates because a report has a hundred thousand cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from markupsafe import Markup, escape

from robustbench_ens.analysis.chosen_on import MARK
from robustbench_ens.core.text import MEAN_AND_STD, markdown, printable
from robustbench_ens.reporting.document import Table
from robustbench_ens.reporting.filters import Filters

ENSEMBLE = "Ensemble"
"""The column whose cells link to the pages of ensembles."""

_LONGEST_NAME = 32  # characters; a longer first cell is wrapped


class Rows:
    """A writer of the rows of tables on one page.

    Attributes:
        pages: addresses of the pages of ensembles, relative to this page, by label. This page itself is not included.
        filters: the filters of the page, if it has any.
    """

    def __init__(self, pages: Mapping[str, str], filters: Filters | None) -> None:
        self.pages = pages
        self.filters = filters

    def html(self, table: Table) -> Markup:
        """Return the bodies of a table: a single one, or one for each group of rows."""
        columns = [str(column) for column in table.frame.columns]
        group = columns.index(table.group) if table.group else None
        starts = [
            self._start(table, column, first=number == 0) for number, column in enumerate(_without(columns, group))
        ]
        # The writer and the opening tag of a column are chosen once, not in every row.
        named = partial(self._named, table)
        cells = [named if column == ENSEMBLE else _plain for column in _without(columns, group)]
        parts = [] if table.group else ["<tbody>\n"]
        last: str | None = None
        for row in table.frame.itertuples(index=False, name=None):
            if group is not None and row[group] != last:
                parts.append("</tbody>\n" if last is not None else "")
                last = row[group]
                heading = f'<th scope="rowgroup" colspan="{len(columns) - 1}">{named(last)}</th>'
                parts.append(f'<tbody>\n<tr class="group">{heading}</tr>\n')
            parts.append(self._row(columns, row, list(zip(_without(row, group), starts, cells, strict=True))))
        if not table.group or last is not None:
            parts.append("</tbody>")
        return Markup("".join(parts))  # all text inside is escaped

    def _row(
        self, columns: Sequence[str], row: Sequence[str], cells: Sequence[tuple[str, str, Callable[[str], str]]]
    ) -> str:
        mean = ' class="mean"' if MEAN_AND_STD in row else ""
        facts = self.filters.row_attributes(columns, row) if self.filters else ""
        kept = "name" if len(row[0]) <= _LONGEST_NAME else "long"
        texts = [f"{start}{write(text)}</td>" for text, start, write in cells]
        first = texts[0].replace("<td", f'<td class="{kept}"', 1)
        return f"<tr{mean}{facts}>{first}{''.join(texts[1:])}</tr>\n"

    def _start(self, table: Table, column: str, *, first: bool) -> str:
        right = ' class="number"' if column in table.numeric and not first else ""
        label = f' data-label="{_plain(column)}"' if table.stacked else ""
        return f"<td{right}{label}>"

    def _named(self, table: Table, text: str) -> str:
        shown = f'<a href="{escape(self.pages[text])}">{_plain(text)}</a>' if text in self.pages else _plain(text)
        return shown + _plain(_mark(table, text))

    def markdown(self, table: Table) -> str:
        """Return the rows of a table, one line each."""
        columns = [str(column) for column in table.frame.columns]
        lines = []
        for row in table.frame.itertuples(index=False, name=None):
            cells = [
                self._linked(text) + _mark(table, text) if column == ENSEMBLE else markdown(text)
                for column, text in zip(columns, row, strict=True)
            ]
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)

    def _linked(self, text: str) -> str:
        return f"[{markdown(text)}]({self.pages[text]})" if text in self.pages else markdown(text)


def _mark(table: Table, ensemble: str) -> str:
    return MARK if ensemble in table.chosen.marked else ""


def _plain(text: str) -> str:
    return str(escape(printable(text)))


def _without(items: Sequence[str], position: int | None) -> list[str]:
    return [item for number, item in enumerate(items) if number != position]
