"""The leaderboard on the terminal: a line with a bar for each ensemble."""

from __future__ import annotations

from collections.abc import Sequence

from robustbench_ens.analysis.chosen_on import MARK
from robustbench_ens.config.kinds import Kinds
from robustbench_ens.core.text import NBSP, percent, shorten
from robustbench_ens.errors import escaped
from robustbench_ens.reporting.board import BoardRow, Rate, chosen_of

LONGEST_NAME = 36
SHORTEST_BAR = 8
LONGEST_BAR = 40
_EIGHTHS = " ▏▎▍▌▋▊▉"


def board_lines(rows: Sequence[BoardRow], kinds: Kinds, width: int, *, unicode: bool = True) -> list[str]:
    """Return the leaderboard of one dataset in lines of at most ``width`` characters, if that is 40 or more.

    Columns that do not fit are dropped from the right; the bar and the worst case stay.

    Args:
        rows: rows of one dataset, best first.
        kinds: the facts of the kinds of protocols.
        width: width of the terminal.
        unicode: whether it shows block characters; otherwise bars consist of ``#``.
    """
    names = {row.ensemble: _name(row) for row in rows}
    worst = [_worst(row) for row in rows]
    columns = [("worst case", worst), *_columns(rows, kinds)]
    heads = [(title, max(len(title), *(len(cell) for cell in cells))) for title, cells in columns]
    label = max(len(f"{row.place:>2} {names[row.ensemble]}") for row in rows)
    fixed = label + 2
    while len(heads) > 1 and fixed + SHORTEST_BAR + sum(size + 2 for _, size in heads) > width:
        heads.pop()
    bar = max(0, min(LONGEST_BAR, width - fixed - sum(size + 2 for _, size in heads)))
    lines = [_title(rows[0]), " " * (fixed + bar) + "".join(f"  {title:>{size}}" for title, size in heads)]
    for number, row in enumerate(rows):
        name = f"{row.place:>2} {names[row.ensemble]}"
        cells = "".join(f"  {columns[at][1][number]:>{size}}" for at, (_, size) in enumerate(heads))
        share = row.worst.value if row.worst is not None else 0.0
        lines.append(f"{name:<{label}}  {bar_of(share, bar, unicode=unicode)}{cells}".rstrip())
        if row.differs_below and number + 1 < len(rows):
            lines.append(("╌" if unicode else "-") * min(width, len(lines[1])))
    return [*lines, _legend(rows)]


def bar_of(share: float, width: int, *, unicode: bool = True) -> str:
    """Return a bar that fills ``share`` of ``width`` characters."""
    if not unicode:
        return ("#" * round(share * width)).ljust(width)
    eighths = round(share * width * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(width)


def _name(row: BoardRow) -> str:
    mark = MARK.replace(NBSP, " ") if row.chosen_here else ""
    return shorten(escaped(row.ensemble, keep=""), LONGEST_NAME) + mark


def _title(row: BoardRow) -> str:
    where = f"eps {row.eps.eps:g}" if row.eps else "not attacked"
    return f"{shorten(row.dataset, LONGEST_NAME)}, {where}, n = {row.n or '0'}"


def _legend(rows: Sequence[BoardRow]) -> str:
    notes = ["Bar: worst case"]
    if any(row.differs_below for row in rows[:-1]):
        notes.append("rule: above and below differ significantly")
    if any(isinstance(rate, Rate) and not rate.healthy for row in rows for rate in (row.worst, *row.attacks.values())):
        notes.append("⚠: rests on an unhealthy attack")
    legend = "; ".join(notes) + "."
    chosen = escaped(chosen_of(rows).note, keep="")
    return f"{legend} {chosen}" if chosen else legend


def _worst(row: BoardRow) -> str:
    return "not run" if row.worst is None else row.worst.marked.replace(NBSP, " ")


def _columns(rows: Sequence[BoardRow], kinds: Kinds) -> list[tuple[str, list[str]]]:
    """Return the columns with a number in any row: attacks, clean images, transferability."""
    attacks = [(kinds[kind].title, [_cell(row.attacks.get(kind)) for row in rows]) for kind in rows[0].attacks]
    columns = [*attacks, ("Clean", [_cell(row.clean) for row in rows])]
    columns.append(("Transfer", [_cell(row.transfer) for row in rows]))
    return [(escaped(title, keep=""), cells) for title, cells in columns if any(cell != "–" for cell in cells)]


def _cell(rate: Rate | str | None) -> str:
    if not isinstance(rate, Rate):
        return "–"
    return percent(rate.value) + ("" if rate.healthy else " ⚠")
