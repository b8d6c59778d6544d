"""The style of figures: one colour, marker and line style per method, readable without colour and on any ground."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from robustbench_ens.config.method_facts import shipped_method
from robustbench_ens.config.methods import METHODS

INK = "#20242c"
"""Colour of text, axes and grid. :mod:`svg` replaces it by the colour of the page's text, for light and dark pages."""

RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.14,
    "grid.linewidth": 0.7,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "text.parse_math": False,
    "image.composite_image": False,  # each image keeps its own pixels
    "svg.fonttype": "none",
    "svg.hashsalt": "robustbench_ens",
}

_LOOKS = (
    ("#d9700a", "o", (0, ())),
    ("#2f80d8", "s", (0, (5, 1.5))),
    ("#12a074", "^", (0, (1.2, 1.2))),
    ("#c264a0", "D", (0, (6, 1.5, 1.2, 1.5))),
    ("#a98a00", "v", (0, (3, 1.2, 1.2, 1.2, 1.2, 1.2))),
    ("#7a6fd0", "P", (0, (8, 2))),
    ("#c2504c", "X", (0, (2.5, 2.5))),
    ("#2aa5b8", "*", (0, (9, 1.5, 3, 1.5))),
    ("#6d8f2f", "<", (0, (4, 1.2, 4, 1.2, 1.2, 1.2))),
    ("#9a6b4f", ">", (0, (6, 3))),
)
_FILLS = ("full", "none", "left", "top", "right", "bottom")


@dataclass(frozen=True)
class Look:
    """The colour, marker and line style of a method. The marker's filling distinguishes ensembles of one method."""

    colour: str
    marker: str
    line: tuple[int, tuple[float, ...]]
    fill: str


def looks(methods: Mapping[str, str]) -> dict[str, Look]:
    """Return the look of each ensemble, which is the same in all figures of a report.

    Shipped methods have the same look in every report. Methods from outside take the free ones, in order of name.

    Args:
        methods: the method of each ensemble.
    """
    numbers = _numbers(methods.values())
    result: dict[str, Look] = {}
    seen: Counter[str] = Counter()
    for ensemble, method in sorted(methods.items()):
        colour, marker, line = _LOOKS[numbers[method]]
        result[ensemble] = Look(colour, marker, line, _FILLS[seen[method] % len(_FILLS)])
        seen[method] += 1
    return result


def _numbers(methods: Iterable[str]) -> dict[str, int]:
    present = sorted(set(methods))
    own = {method: shipped_method(method).look for method in present if method in METHODS}
    fixed = {method: number for method, number in own.items() if number is not None}
    free = [number for number in range(len(_LOOKS)) if number not in fixed.values()] or list(range(len(_LOOKS)))
    others = [method for method in present if method not in fixed]
    return fixed | {method: free[position % len(free)] for position, method in enumerate(others)}
