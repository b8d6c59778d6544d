"""Markers of points: one shape per method. The filling distinguishes ensembles of one method."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from robustbench_ens.reporting.scene import GROUND, Circle, Mark, Point, Shape
from robustbench_ens.reporting.style import Look


def _star(points: int, inner: float, turn: float = 0.0) -> Sequence[Point]:
    """Return the corners of a star, or of a regular polygon if ``inner`` is 1. The first corner is on top."""
    count = 2 * points if inner < 1 else points
    corners = []
    for number in range(count):
        angle = 2 * math.pi * number / count + turn - math.pi / 2
        radius = inner if inner < 1 and number % 2 else 1.0
        corners.append((radius * math.cos(angle), radius * math.sin(angle)))
    return corners


def _plus(turn: float) -> Sequence[Point]:
    arm = 0.36
    corners = [(arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm), (arm, 1)]
    corners += [(-x, -y) for x, y in corners]
    return [(x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)) for x, y in corners]


_OUTLINES: Mapping[str, Sequence[Point]] = {
    "o": _star(24, 1.0),
    "s": _star(4, 1.0, math.pi / 4),
    "^": _star(3, 1.0),
    "v": _star(3, 1.0, math.pi),
    "D": _star(4, 1.0),
    "P": _plus(0.0),
    "X": _plus(math.pi / 4),
    "*": _star(5, 0.45),
    "<": _star(3, 1.0, -math.pi / 2),
    ">": _star(3, 1.0, math.pi / 2),
}
_SCALE: Mapping[str, float] = {
    "s": 1.15,
    "^": 1.25,
    "v": 1.25,
    "<": 1.25,
    ">": 1.25,
    "D": 1.2,
    "P": 1.15,
    "X": 1.15,
    "*": 1.4,
}
_HALVES: Mapping[str, Callable[[Point], float]] = {
    "left": lambda point: -point[0],
    "right": lambda point: point[0],
    "top": lambda point: -point[1],
    "bottom": lambda point: point[1],
}


def marker(x: float, y: float, look: Look, radius: float = 3.5) -> list[Mark]:
    """Return the marker of ``look`` around ``(x, y)``."""
    if look.marker == "o" and look.fill in ("full", "none"):
        if look.fill == "full":
            return [Circle(x, y, radius, look.colour)]
        return [Circle(x, y, radius - 0.2, GROUND, look.colour, 1.5)]
    size = radius * _SCALE.get(look.marker, 1.0)
    outline = _OUTLINES[look.marker]
    if look.fill == "full":
        return [Shape(_placed(outline, x, y, size), look.colour)]
    marks: list[Mark] = [Shape(_placed(outline, x, y, size), GROUND, look.colour, 1.4)]
    if look.fill in _HALVES:
        half = _clipped(outline, _HALVES[look.fill])
        marks.append(Shape(_placed(half, x, y, size), look.colour))
    return marks


def _placed(outline: Sequence[Point], x: float, y: float, size: float) -> list[Point]:
    return [(x + size * across, y + size * down) for across, down in outline]


def _clipped(outline: Sequence[Point], side: Callable[[Point], float]) -> list[Point]:
    """Return the part of a polygon where ``side`` is not negative (Sutherland and Hodgman 1974)."""
    kept: list[Point] = []
    for first, second in zip(outline, [*outline[1:], outline[0]], strict=True):
        before = side(first)
        after = side(second)
        if before >= 0:
            kept.append(first)
        if before * after < 0:
            part = before / (before - after)
            kept.append((first[0] + part * (second[0] - first[0]), first[1] + part * (second[1] - first[1])))
    return kept
