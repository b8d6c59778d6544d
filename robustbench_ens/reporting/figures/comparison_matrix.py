"""A matrix of the differences between every two ensembles under one protocol and of their significance."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from robustbench_ens.analysis.health import MARK
from robustbench_ens.core.text import NBSP, counted, p_value, points
from robustbench_ens.reporting.figures.cells import Box, Cell, draw_cell, legend, size_in
from robustbench_ens.reporting.figures.colours import diverging
from robustbench_ens.reporting.figures.curves import TITLE_SIZE
from robustbench_ens.reporting.figures.tips import leave_room
from robustbench_ens.reporting.scene import SOFT, Draw, Scene, fitted, text_width

_NAME_SIZE = 12.0
_HEAD = 36.0  # for the title, and the places above the columns
_WIDEST = 64.0
_TALLEST = 32.0
_ROOM_FOR_DECIMALS = 44.0
_ROOM_FOR_PLACES = 16.0
_KEY = "points, row minus column; bold: significant (p < 0.05 after Holm's correction); hatched, =: statistically tied"

Pair = Mapping[Hashable, Any]


@dataclass(frozen=True)
class _Cells:
    """The two cells of a pair: one with a whole number, and one with decimals for wide columns."""

    narrow: Cell
    wide: Cell


def comparison_matrix(
    comparisons: pd.DataFrame,
    names: Mapping[str, str],
    title: str,
    unhealthy: Set[str] = frozenset(),
    pages: Mapping[str, str] | None = None,
) -> Draw:
    """Return a function that draws a staircase of differences.

    An ensemble's row compares it with those below it, and its column with those above it.

    Args:
        comparisons: rows of ``compare.comparisons`` of one protocol.
        names: the short name of each ensemble, the best first. No others are drawn.
        title: the title of the figure.
        unhealthy: ensembles whose numbers rest on an unhealthy attack.
        pages: the page of each ensemble that has one, which its name links to.
    """
    place = {label: number for number, label in enumerate(names)}
    cells: dict[tuple[int, int], _Cells] = {}
    for pair in comparisons.to_dict("records"):
        if pair["better"] in place and pair["worse"] in place:
            ends = sorted([place[pair["better"]], place[pair["worse"]]])
            sign = 1 if ends[0] == place[pair["better"]] else -1
            cells[ends[0], ends[1]] = _cells(pair, sign * pair["difference"], _tip(pair, names))
    called = [
        (f"{number}. {name}{MARK if label in unhealthy else ''}", (pages or {}).get(label, ""))
        for number, (label, name) in enumerate(names.items(), start=1)
    ]
    return partial(_staircase, called, cells, title)


def _staircase(
    called: Sequence[tuple[str, str]], cells: Mapping[tuple[int, int], _Cells], title: str, width: float
) -> Scene:
    count = len(called)
    widest = max((text_width(name, _NAME_SIZE) for name, _ in called), default=0.0)
    first = min(widest + 8, 0.34 * width)
    w = min(_WIDEST, (width - first) / max(1, count - 1))
    h = max(14.0, min(_TALLEST, w))
    # Narrow columns have room for every fifth place only.
    every = 1 if w >= _ROOM_FOR_PLACES else 5
    decimals = w >= _ROOM_FOR_DECIMALS
    size = size_in(w, h, f"={NBSP}+99.9" if decimals else "+99", bold=True)
    scene = Scene(width, _HEAD + h * count)
    scene.text(0, 14, fitted(title, TITLE_SIZE, width, bold=True), size=TITLE_SIZE, bold=True)
    for row, (name, page) in enumerate(called):
        end = first + row * w
        top = _HEAD + row * h
        if row and (row + 1) % every == 0:
            scene.text(end - w / 2, _HEAD - 5, row + 1, size=10, colour=SOFT, anchor="middle")
        with scene.marked(page=page):
            scene.text(end - 6, top + 0.5 * h + 4, fitted(name, _NAME_SIZE, end - 8), size=_NAME_SIZE, anchor="end")
        for column in range(row + 1, count):
            own = cells.get((row, column))
            cell = Cell() if own is None else own.wide if decimals else own.narrow
            draw_cell(scene, Box(end + (column - row - 1) * w, top, w, h), cell, size)
    ends = ("−100", "+100")
    leave_room(scene, legend(scene, scene.height + 20, lambda share: diverging(2 * share - 1), ends, _KEY))
    return scene


def _cells(pair: Pair, difference: float, tip: str) -> _Cells:
    significant = bool(pair["supported"])
    whole = f"{100 * difference:+.0f}".replace("-", "−")
    exact = points(difference)
    texts = (whole, exact) if significant else ("=", f"={NBSP}{exact}")
    narrow, wide = (Cell(diverging(difference), text, tip, significant, not significant) for text in texts)
    return _Cells(narrow, wide)


def _tip(pair: Pair, names: Mapping[str, str]) -> str:
    interval = f" [{points(pair['low'])},{NBSP}{points(pair['high'])}]" if pair["low"] < pair["high"] else ""
    p = p_value(pair["p_adjusted"])
    better = names[pair["better"]]
    worse = names[pair["worse"]]
    verdict = "significant" if pair["supported"] else "statistically tied"
    return (
        f"{better} minus {worse}: {points(pair['difference'])} points{interval}, {verdict}, "
        f"p {p if p.startswith('<') else f'= {p}'} (Holm), n = {pair['n']}, {counted(pair['seeds'], 'seed')}; "
        f"only one right: {better} {pair['only_better']}, {worse} {pair['only_worse']}"
    )
