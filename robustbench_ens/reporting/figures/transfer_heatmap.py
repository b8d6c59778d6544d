"""Transferability between the sub-models of ensembles at one eps (DVERGE, Figures 3, 8 and 11)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from robustbench_ens.outcomes import ENSEMBLE
from robustbench_ens.reporting.figures.cells import Box, Cell, draw_cell, legend, size_in
from robustbench_ens.reporting.figures.colours import ramp
from robustbench_ens.reporting.figures.curves import TITLE_SIZE
from robustbench_ens.reporting.figures.tips import SeedRate, leave_room, seed_rates
from robustbench_ens.reporting.scene import SOFT, Scene, fitted

_PAIR = ["source_member", "target_member"]
_CELL = 32.0
_SMALLEST = 3.0
_APART = 6.0  # between the sub-models and the ensemble
_NUMBERS = 16.0  # room for the sub-models' numbers, left of the rows and above the columns
_NAME = 20.0
_GAP = 18.0  # between two ensembles
_KEY = "of attacks succeed; row: crafted on this sub-model, column: scored on it, E: on the ensemble"


@dataclass(frozen=True)
class Panel:
    """One heatmap.

    Attributes:
        name: the name of the ensemble.
        page: the page of the report that its name links to, or an empty text.
        members: the numbers of its sub-models.
        cells: the cells by the sub-model that images were crafted on, and the sub-model or ``ENSEMBLE`` that they were
            scored on.
    """

    name: str
    page: str
    members: Sequence[int]
    cells: Mapping[tuple[int, int], Cell]

    @property
    def columns(self) -> Sequence[int]:
        """The sub-models that images were scored on, with the ensemble last."""
        scored = any(target == ENSEMBLE for _, target in self.cells)
        return [*self.members, *([ENSEMBLE] if scored else [])]


def panels(transfer: pd.DataFrame, names: Mapping[str, str], pages: Mapping[str, str] | None = None) -> list[Panel]:
    """Return a panel for each ensemble of ``names``, in that order, that has rates between sub-models.

    Args:
        transfer: rows of ``derive.transferability`` of one protocol and eps.
        names: the short name of each ensemble.
        pages: the page of each ensemble that has one.
    """
    several = transfer[transfer["sub_models"] > 1]
    found: dict[str, dict[tuple[int, int], Cell]] = {}
    for (label, source, target), rate in seed_rates(several, ["ensemble", *_PAIR], "rate").items():
        if str(label) in names:
            pair = (int(source), int(target))
            found.setdefault(str(label), {})[pair] = _cell(names[str(label)], pair, rate)
    return [
        Panel(name, (pages or {}).get(label, ""), sorted({source for source, _ in found[label]}), found[label])
        for label, name in names.items()
        if label in found
    ]


def _cell(name: str, pair: tuple[int, int], rate: SeedRate) -> Cell:
    if math.isnan(rate.mean):
        return Cell()
    source, target = pair
    on = "the ensemble" if target == ENSEMBLE else f"sub-model {target}"
    tip = f"{name}, crafted on sub-model {source}, scored on {on}: {rate.tip}"
    return Cell(ramp(rate.mean), f"{100 * rate.mean:.0f}", tip)


def transfer_heatmap(shown: Sequence[Panel], title: str, width: float) -> Scene:
    """Return heatmaps on one scale: the share of attacks on the row's sub-model that beat the column's.

    The last column is the ensemble, and the diagonal is white-box. For several seeds, the cells hold means.

    Args:
        shown: the panels of :func:`panels`.
        title: the title above all panels, or an empty text.
        width: the width in pixels. Panels that do not fit into a row begin another one.
    """
    side = _side(shown, width)
    places, bottom = _placed(shown, side, width, 24.0 if title else 0.0)
    scene = Scene(width, bottom)
    if title:
        scene.text(0, 14, fitted(title, TITLE_SIZE, width, bold=True), size=TITLE_SIZE, bold=True)
    for panel, (x, y) in zip(shown, places, strict=True):
        _draw(scene, panel, (x, y), side)
    leave_room(scene, legend(scene, bottom + 12, ramp, ("0%", "100%"), _KEY))
    return scene


def _side(shown: Sequence[Panel], width: float) -> float:
    """Return the side of a cell."""
    most = max((len(panel.members) for panel in shown), default=1)
    return max(_SMALLEST, min(_CELL, (width - _NUMBERS - _APART) / (most + 1)))


def _size(panel: Panel, side: float) -> tuple[float, float]:
    apart = _APART if ENSEMBLE in panel.columns else 0.0
    return _NUMBERS + len(panel.columns) * side + apart, _NAME + _NUMBERS + len(panel.members) * side


def _placed(shown: Sequence[Panel], side: float, width: float, top: float) -> tuple[list[tuple[float, float]], float]:
    """Return the upper left corner of each panel, and the lower end of the last row of panels."""
    places: list[tuple[float, float]] = []
    x = 0.0
    y = top
    tallest = 0.0
    for panel in shown:
        w, h = _size(panel, side)
        if x and x + w > width:
            x = 0.0
            y += tallest + 16
            tallest = 0.0
        places.append((x, y))
        x += w + _GAP
        tallest = max(tallest, h)
    return places, y + tallest + 10


def _draw(scene: Scene, panel: Panel, corner: tuple[float, float], side: float) -> None:
    left, top = corner
    w, _ = _size(panel, side)
    name = fitted(panel.name, 12, min(w + _GAP - 6, scene.width - left), bold=True)
    with scene.marked(page=panel.page):
        scene.text(left, top + 13, name, size=12, bold=True)
    first = top + _NAME + _NUMBERS
    size = size_in(side, side, "100")
    for row, source in enumerate(panel.members):
        scene.text(left + _NUMBERS - 5, first + (row + 0.5) * side + 4, source, size=10, colour=SOFT, anchor="end")
    for column, target in enumerate(panel.columns):
        x = left + _NUMBERS + column * side + (_APART if target == ENSEMBLE else 0)
        text = "E" if target == ENSEMBLE else str(target)
        scene.text(x + side / 2, first - 4, text, size=10, colour=SOFT, anchor="middle")
        for row, source in enumerate(panel.members):
            box = Box(x, first + row * side, side, side)
            draw_cell(scene, box, panel.cells.get((source, target), Cell()), size)
