"""A heatmap of ensembles against variants of attacks: the share of images that each variant breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import pandas as pd

from robustbench_ens.reporting.figures.cells import Box, Cell, draw_cell, legend, size_in
from robustbench_ens.reporting.figures.colours import ramp
from robustbench_ens.reporting.figures.tips import leave_room
from robustbench_ens.reporting.figures.variants import Effect, Variant, effects, in_order
from robustbench_ens.reporting.scene import SOFT, Draw, Scene, fitted, text_width

_NAME_SIZE = 12.0
_SMALL = 10.5
_NARROWEST = 11.5  # the smallest width of a column
_UPRIGHT_FROM = 25.0  # the width of a column from which its heading is horizontal
_WIDEST = 40.0
_TURNED_UP_TO = 600.0  # pixels; narrower figures with many variants have a row for each variant
_ROW = 26.0
_LINE = 20.0  # of a turned figure
_APART = 6.0  # between surrogates
_HEAD = 3 * 15.0
_TALLEST_NAME = 110.0
_KEY = "of all images are broken; framed: the variant decides, in most seeds if there are several"

Cells = Mapping[tuple[str, Variant], Cell]


@dataclass(frozen=True)
class _Ensemble:
    """An ensemble in the figure: its label, its short name, and the page that its name links to."""

    label: str
    name: str
    page: str


def variant_heatmap(ledger: pd.DataFrame, names: Mapping[str, str], pages: Mapping[str, str] | None = None) -> Draw:
    """Return a function that draws the share of images that each variant breaks.

    There is a row per ensemble, or a column on narrow pages. Framed variants are needed, in the greedy order, to reach
    the all-or-nothing accuracy.

    Args:
        ledger: rows of ``ledger.ledger`` of one protocol.
        names: the short name of each ensemble, in order. No others are drawn.
        pages: the page of each ensemble that has one, which its name links to.
    """
    known = set(ledger["ensemble"])
    shown = [_Ensemble(label, name, (pages or {}).get(label, "")) for label, name in names.items() if label in known]
    found = effects(ledger[ledger["ensemble"].isin(list(names))])
    cells = {key: _cell(effect, effect.tip(names[key[0]], key[1])) for key, effect in found.items()}
    return partial(_draw, shown, in_order(variant for _, variant in found), cells)


def _cell(effect: Effect, tip: str) -> Cell:
    share = effect.broken.mean
    return Cell(ramp(share), f"{100 * share:.0f}", tip, framed=effect.mostly_decides)


def _draw(shown: Sequence[_Ensemble], found: Sequence[Variant], cells: Cells, width: float) -> Scene:
    first = min(0.3 * width, 12 + max((text_width(one.name, _NAME_SIZE) for one in shown), default=0.0))
    sources = len({one.source for one in found})
    w = min(_WIDEST, (width - first - _APART * (sources - 1)) / max(1, len(found)))
    if w >= (_NARROWEST if width > _TURNED_UP_TO else _UPRIGHT_FROM):
        return _wide(shown, found, cells, width, (first, w))
    return _turned(shown, found, cells, width)


def _wide(
    shown: Sequence[_Ensemble], found: Sequence[Variant], cells: Cells, width: float, sizes: tuple[float, float]
) -> Scene:
    first, w = sizes
    places = list(_places(found, first, w))
    scene = Scene(width, 0)
    head = _heads(scene, found, places, w)
    size = size_in(w, _ROW, "100")
    for row, ensemble in enumerate(shown):
        y = head + row * _ROW
        with scene.marked(page=ensemble.page):
            scene.text(0, y + 17, fitted(ensemble.name, _NAME_SIZE, first - 8), size=_NAME_SIZE)
        for variant, x in zip(found, places, strict=True):
            draw_cell(scene, Box(x, y, w, _ROW), cells.get((ensemble.label, variant), Cell()), size)
    leave_room(scene, legend(scene, head + _ROW * len(shown) + 20, ramp, ("0%", "100%"), _KEY))
    return scene


def _heads(scene: Scene, found: Sequence[Variant], places: Sequence[float], w: float) -> float:
    """Write the headings of the columns, and return the upper end of the rows."""
    for title, start, end in _headings(found, places, w, lambda one: (one.source,)):
        scene.text(start, 11, fitted(title, _SMALL, end - start, bold=True), size=_SMALL, bold=True)
    if w < _UPRIGHT_FROM:
        called = [f"{variant.attack} {variant.own}" for variant in found]
        head = 22 + min(_TALLEST_NAME, max(text_width(name, 10) for name in called))
        for name, x in zip(called, places, strict=True):
            scene.text(x + w / 2 + 4, head - 4, fitted(name, 10, head - 22), size=10, colour=SOFT, angle=-90)
        return head
    for title, start, end in _headings(found, places, w, lambda one: (one.source, one.attack)):
        scene.line([(start + 1, 29), (end - 1, 29)], SOFT, opacity=0.5)
        scene.text(start, 25, fitted(title, _SMALL, end - start), size=_SMALL, colour=SOFT)
    for variant, x in zip(found, places, strict=True):
        scene.text(x + w / 2, 41, fitted(variant.own, 9.5, w), size=9.5, colour=SOFT, anchor="middle")
    return _HEAD


def _places(found: Sequence[Variant], start: float, w: float) -> Iterator[float]:
    """Yield the left end of each variant, with a gap between surrogates."""
    last = None
    for variant in found:
        if last is not None and variant.source != last:
            start += _APART
        yield start
        start += w
        last = variant.source


def _headings(
    found: Sequence[Variant], places: Sequence[float], size: float, key: Callable[[Variant], tuple[str, ...]]
) -> Iterator[tuple[str, float, float]]:
    """Yield the heading of each group of neighbours, with its left and right end."""
    for names, group in groupby(zip(found, places, strict=True), key=lambda pair: key(pair[0])):
        held = [place for _, place in group]
        yield names[-1], held[0], held[-1] + size


def _turned(shown: Sequence[_Ensemble], found: Sequence[Variant], cells: Cells, width: float) -> Scene:
    """Return a row per variant and a column per ensemble, whose names are written upwards."""
    first = min(0.4 * width, 150.0)
    w = min(_WIDEST, (width - first) / max(1, len(shown)))
    head = 8 + min(_TALLEST_NAME, max((text_width(one.name, 11) for one in shown), default=0.0))
    scene = Scene(width, head)
    for column, ensemble in enumerate(shown):
        x = first + (column + 0.5) * w + 4
        with scene.marked(page=ensemble.page):
            scene.text(x, head - 6, fitted(ensemble.name, 11, head - 8), size=11, angle=-90)
    y = head
    size = size_in(w, _LINE, "100")
    for source, group in groupby(found, key=lambda one: one.source):
        scene.text(0, y + 14, fitted(source, _SMALL, width, bold=True), size=_SMALL, bold=True)
        y += _LINE
        for variant in group:
            scene.text(8, y + 14, fitted(f"{variant.attack} {variant.own}", _SMALL, first - 12), size=_SMALL)
            for column, ensemble in enumerate(shown):
                box = Box(first + column * w, y, w, _LINE)
                draw_cell(scene, box, cells.get((ensemble.label, variant), Cell()), size)
            y += _LINE
    leave_room(scene, legend(scene, y + 20, ramp, ("0%", "100%"), _KEY))
    return scene
