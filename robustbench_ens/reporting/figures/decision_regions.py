"""Decision regions of the sub-models and the ensemble around one image (DVERGE, Figures 1 and 7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy import ndimage

from robustbench_ens.core.text import shorten
from robustbench_ens.reporting.figures.pictures import class_name, show
from robustbench_ens.reporting.style import INK, RC

Classes = npt.NDArray[np.integer[Any]]

COLUMNS = 3
_FILLS = [to_hex(colour) for colour in mpl.colormaps["Set3"].colors]  # type: ignore[attr-defined]
_ON_FILL = "#000000"  # the fills are light on any page
_ROOM = 2.4  # cells from a number to the nearest other class, at least
_LEGEND = 12  # classes that have room in the legend


def decision_regions(
    regions: Classes,
    image: npt.NDArray[np.uint8],
    label: int,
    names: Sequence[str],
    *,
    eps: float,
    title: str,
    image_title: str,
) -> Figure:
    """The image, and for the ensemble and every sub-model the class that each point of the plane is given.

    Every class has one fill in all figures, and its number on each region with room for it. The cross is the clean
    image; the dashed square is the l-infinity ball of radius eps.

    Args:
        regions: ``(M + 1, grid, grid)``, the ensemble last; rows along the adversarial direction, columns along the
            random one, both from ``-eps`` to ``eps``.
        image: ``(C, H, W)``.
        label: the true class.
        names: of the classes; may be empty.
        eps: half the side of the square.
        title: of the figure.
        image_title: of the image.
    """
    members = len(regions) - 1
    rows = 1 + -(-members // COLUMNS)
    with mpl.rc_context(RC | {"axes.grid": False, "axes.titleweight": "normal", "font.size": 8.5}):
        figure = Figure(figsize=(4.9, 0.75 + 1.62 * rows), layout="constrained")
        panels = figure.subplots(rows, COLUMNS)
        for axes in panels.flat:
            axes.set_axis_off()
        first, whole, key = panels[0]
        show(first, image)
        first.set_title(f"{image_title}\nclass {class_name(label, names, 14)}")
        _draw(whole, regions[-1], eps, "ensemble")
        for member, axes in zip(range(members), panels[1:].flat, strict=False):
            _draw(axes, regions[member], eps, f"sub-model {member}")
        _legend(key, regions, names)
        figure.supxlabel("random direction", fontsize=RC["font.size"])
        figure.supylabel("adversarial direction", fontsize=RC["font.size"])
        figure.suptitle(shorten(title, 48), fontsize=RC["axes.titlesize"], fontweight="bold")
    return figure


def _draw(axes: mpl.axes.Axes, classes: Classes, eps: float, title: str) -> None:
    half = eps * (1 + 1 / (len(classes) - 1))  # points stand in the middle of their cells
    axes.set_axis_on()
    axes.imshow(
        classes % len(_FILLS),
        cmap=ListedColormap(_FILLS),
        vmin=-0.5,
        vmax=len(_FILLS) - 0.5,
        origin="lower",
        extent=(-half, half, -half, half),
        interpolation="none",
    )
    axes.add_collection(LineCollection(list(boundaries(classes, half)), colors=_ON_FILL, linewidths=0.6))
    axes.plot([0, eps, 0, -eps, 0], [eps, 0, -eps, 0, eps], color=_ON_FILL, lw=0.8, linestyle=(0, (3, 2)))
    axes.plot([0], [0], marker="+", color=_ON_FILL, markersize=7, markeredgewidth=1.4)
    for x, y, number in numbers(classes):
        across, up = (half * (2 * (value + 0.5) / len(classes) - 1) for value in (x, y))
        axes.text(across, up, str(number), color=_ON_FILL, fontsize=8, fontweight="bold", ha="center", va="center")
    axes.set_xticks([-eps, 0, eps], [f"{-eps:g}", "0", f"{eps:g}"], fontsize=7)
    axes.set_yticks([-eps, 0, eps], [f"{-eps:g}", "0", f"{eps:g}"], fontsize=7)
    axes.tick_params(length=2)
    axes.spines[:].set_visible(False)
    axes.set_title(title)


def boundaries(classes: Classes, half: float) -> Iterator[list[tuple[float, float]]]:
    """The lines between cells of different classes, in a square from ``-half`` to ``half``; each side by itself."""
    edges = np.linspace(-half, half, len(classes) + 1)
    for row, column in np.argwhere(classes[:, 1:] != classes[:, :-1]):
        yield [(edges[column + 1], edges[row]), (edges[column + 1], edges[row + 1])]
    for row, column in np.argwhere(classes[1:] != classes[:-1]):
        yield [(edges[column], edges[row + 1]), (edges[column + 1], edges[row + 1])]


def numbers(classes: Classes) -> Iterator[tuple[int, int, int]]:
    """Column, row and class of a number in each connected region with room, as far inside as can be."""
    middle = len(classes) // 2
    reach = max(1, len(classes) // 12)
    cross = slice(middle - reach, middle + reach + 1)
    for number in np.unique(classes):
        parts, count = ndimage.label(classes == number)
        for part in range(1, count + 1):
            depth = ndimage.distance_transform_edt(np.pad(parts == part, 1))[1:-1, 1:-1]
            depth[cross, cross] = 0
            row, column = np.unravel_index(depth.argmax(), depth.shape)
            if depth[row, column] > _ROOM:
                yield int(column), int(row), int(number)


def _legend(axes: mpl.axes.Axes, regions: Classes, names: Sequence[str]) -> None:
    present, counts = np.unique(regions, return_counts=True)
    largest = sorted(present[np.argsort(-counts, kind="stable")][:_LEGEND])
    handles = [
        Patch(facecolor=_FILLS[k % len(_FILLS)], edgecolor=INK, linewidth=0.6, label=class_name(int(k), names, 14))
        for k in largest
    ]
    rest = len(present) - len(largest)
    title = "predicted class" + (f"\n(and {rest} more)" if rest else "")
    sizes = {"fontsize": 8.5 if len(handles) <= 8 else 7, "title_fontsize": 8.5}
    axes.legend(handles=handles, title=title, loc="center", handlelength=1.4, labelspacing=0.3, **sizes)
