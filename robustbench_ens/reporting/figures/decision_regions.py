"""Decision regions of the sub-models and the ensemble around one image (DVERGE, Figures 1 and 7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from robustbench_ens.reporting.figures.pictures import class_name, pixels
from robustbench_ens.reporting.figures.tips import leave_room
from robustbench_ens.reporting.scene import INK, SOFT, Image, Line, Rect, Scene, Text, fitted, text_width

Classes = npt.NDArray[np.integer[Any]]

WIDTH = 590.0
"""The width of one figure on a wide page, in pixels."""

_FILLS = (
    *("#8dd3c7", "#ffffb3", "#bebada", "#fb8072", "#80b1d3", "#fdb462"),
    *("#b3de69", "#fccde5", "#d9d9d9", "#bc80bd", "#ccebc5", "#ffed6f"),
)  # Set3 of ColorBrewer (Cynthia Brewer): light and easy to distinguish
_ON_FILL = "#000000"  # the fills are light on any page
_ROOM = 2.4  # the least distance in cells from a number to another class
_LEGEND = 12  # the most classes in the legend
_SIDE = 106.0  # the largest side of a panel in pixels
_GAP = 14.0
_TITLE = 16.0
_SIZE = 11.0


def decision_regions(
    regions: Classes,
    image: npt.NDArray[np.uint8],
    of: tuple[int, int, Sequence[str]],
    eps: float,
    title: str,
    width: float,
) -> Scene:
    """Return the image and a panel with the predicted class of each point, for the ensemble and every sub-model.

    Every class has one fill in all figures, and its number is written on each region with room for it. The cross is the
    clean image, and the dashed square is the l-infinity ball of radius eps. The vertical axis is the adversarial
    direction, and the horizontal axis is the random one.

    Args:
        regions: ``(M + 1, grid, grid)``, the ensemble last. Rows follow the adversarial direction and columns the
            random one, both from ``-eps`` to ``eps``.
        image: ``(C, H, W)``.
        of: its index in the test split, the true class, and the names of the classes, which may be empty.
        eps: half the side of the square.
        title: the title of the figure.
        width: the width in pixels.
    """
    number, label, names = of
    panels = [("ensemble", regions[-1]), *((f"sub-model {k}", own) for k, own in enumerate(regions[:-1]))]
    columns = max(1, int((width + _GAP) // (_SIDE + _GAP)))
    side = min(_SIDE, (width + _GAP) / columns - _GAP)
    legend = _legend(regions, names, width)
    # Rounded up, with one more panel for the image.
    rows = -(-(len(panels) + 1) // columns)
    bottom = 24 + rows * (_TITLE + side + _GAP) + 16 * len(legend) + 18
    scene = Scene(width, bottom)
    scene.text(0, 14, fitted(title, 13, width, bold=True), size=13, bold=True)
    named = f"image {number}, class {class_name(label, names, 14)}"
    _panel_title(scene, 0, 24, named, side)
    scene.add(Image(0, 24 + _TITLE, side, side, pixels(image)))
    for place, (name, classes) in enumerate(panels, start=1):
        x = place % columns * (side + _GAP)
        y = 24 + place // columns * (_TITLE + side + _GAP)
        _panel_title(scene, x, y, name, side)
        _draw(scene, classes, x, y + _TITLE, side, _share(name, classes, label))
    below = 24 + rows * (_TITLE + side + _GAP) + 8
    for line, marks in enumerate(legend):
        scene.add(*(_moved(mark, below + 16 * line) for mark in marks))
    scene.text(0, below + 16 * len(legend) + 4, f"dashed: within eps {eps:g}", size=_SIZE, colour=SOFT)
    leave_room(scene, bottom)
    return scene


def _panel_title(scene: Scene, x: float, y: float, text: str, side: float) -> None:
    scene.text(x, y + 11, fitted(text, _SIZE, side), size=_SIZE)


def _share(name: str, classes: Classes, label: int) -> str:
    return f"{name}: right on {100 * float((classes == label).mean()):.0f}% of the square"


def _draw(scene: Scene, classes: Classes, x: float, y: float, side: float, tip: str) -> None:
    colours = np.array([[int(fill[at : at + 2], 16) for at in (1, 3, 5)] for fill in _FILLS], dtype=np.uint8)
    upright = classes[::-1]  # the first row is the lowest
    grid = len(classes)
    cell = side / grid
    with scene.marked(tip):
        scene.add(Image(x, y, side, side, colours[upright % len(_FILLS)]))
    edges = [[(x + a * cell, y + b * cell) for a, b in ends] for ends in boundaries(upright)]
    if edges:
        scene.add(Line(edges, _ON_FILL, 0.7))
    first = cell / 2  # points are in the middle of their cells
    last = side - cell / 2
    middle = side / 2
    ball = [(middle, first), (last, middle), (middle, last), (first, middle), (middle, first)]
    scene.line([(x + a, y + b) for a, b in ball], _ON_FILL, dash=(3, 2))
    cross = [[(middle - 4, middle), (middle + 4, middle)], [(middle, middle - 4), (middle, middle + 4)]]
    scene.add(Line([[(x + a, y + b) for a, b in arm] for arm in cross], _ON_FILL, 1.5))
    for column, row, number in numbers(upright):
        at = (x + (column + 0.5) * cell, y + (row + 0.5) * cell + 4)
        scene.text(*at, str(number), size=_SIZE, colour=_ON_FILL, anchor="middle", bold=True)


def boundaries(classes: Classes) -> Iterator[list[tuple[int, int]]]:
    """Yield the ends of the lines between cells of different classes, as (column, row) of the grid's corners.

    Pieces in one line are joined.
    """
    for between, turned in ((classes[:, 1:] != classes[:, :-1], False), (classes[1:] != classes[:-1], True)):
        lines = between if turned else between.T
        for place, along in enumerate(lines, start=1):
            steps = np.diff(np.concatenate([[0], along.astype(np.int8), [0]]))
            for begin, end in zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), strict=True):
                ends = [(place, int(begin)), (place, int(end))]
                yield [(row, column) for column, row in ends] if turned else ends


def numbers(classes: Classes) -> Iterator[tuple[int, int, int]]:
    """Yield column, row and class of a number in each connected region with room, as far inside as possible."""
    middle = len(classes) // 2
    reach = max(1, len(classes) // 12)
    for number in np.unique(classes):
        parts, _ = ndimage.label(classes == number)
        for part, (down, across) in enumerate(ndimage.find_objects(parts), start=1):
            if min(down.stop - down.start, across.stop - across.start) < 2 * _ROOM - 1:
                continue  # too thin, like most regions of noisy boundaries: the distance transform is slow
            depth = ndimage.distance_transform_edt(np.pad(parts[down, across] == part, 1))[1:-1, 1:-1]
            rows = np.abs(np.arange(down.start, down.stop) - middle) <= reach
            columns = np.abs(np.arange(across.start, across.stop) - middle) <= reach
            depth[np.ix_(rows, columns)] = 0  # the cross is drawn there
            row, column = np.unravel_index(depth.argmax(), depth.shape)
            if depth[row, column] > _ROOM:
                yield int(column) + across.start, int(row) + down.start, int(number)


def _legend(regions: Classes, names: Sequence[str], width: float) -> list[list[Rect | Text]]:
    """Return the swatches and names of the largest classes in lines that fit, each at height 0."""
    present, counts = np.unique(regions, return_counts=True)
    largest = sorted(present[np.argsort(-counts, kind="stable")][:_LEGEND])
    rest = len(present) - len(largest)
    lines: list[list[Rect | Text]] = [[]]
    x = 0.0
    for number, text in [*((int(k), class_name(int(k), names, 14)) for k in largest), (-1, f"and {rest} more")]:
        if number < 0 and not rest:
            continue
        wide = 18 + text_width(text, _SIZE) + 12
        if x and x + wide > width:
            lines.append([])
            x = 0.0
        if number >= 0:
            lines[-1].append(Rect(x, -9, 12, 11, fill=_FILLS[number % len(_FILLS)], stroke=INK, width=0.6))
        lines[-1].append(Text(x + 18, 1, text, _SIZE))
        x += wide
    return lines


def _moved(mark: Rect | Text, y: float) -> Rect | Text:
    if isinstance(mark, Rect):
        return Rect(mark.x, mark.y + y, mark.w, mark.h, mark.fill, mark.stroke, mark.width)
    return Text(mark.x, mark.y + y, mark.text, mark.size)
