"""Axes of curves: from data to pixels, ticks, grid and labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from robustbench_ens.reporting.scene import INK, RULE, SOFT, Scene, fitted, text_width

TICK_SIZE = 11.0
_BETWEEN = 5.0  # the least distance in pixels between the texts of two ticks


@dataclass(frozen=True)
class Axis:
    """One axis: its label, its ends, and its ticks with their texts."""

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]

    def share(self, value: float) -> float:
        """Return the position of ``value``, from 0 at the low end to 1 at the high end."""
        return (value - self.low) / (self.high - self.low)


def percent_axis(label: str) -> Axis:
    """Return an axis from 0 to 100 percent."""
    return Axis(label, 0.0, 100.0, [(value, f"{value:g}") for value in (0.0, 25.0, 50.0, 75.0, 100.0)])


def number_axis(label: str, values: Iterable[float], *, whole: bool = False, low: float = 0.0) -> Axis:
    """Return an axis from ``low``, or the lowest value below it, to the highest of ``values``.

    Args:
        label: the quantity that it measures.
        values: the values on it. Those that are not finite are ignored.
        whole: true if only whole numbers have ticks.
        low: its low end, unless a value is lower.
    """
    known = [value for value in values if math.isfinite(value)]
    least = min([low, *known])
    most = max([least, *known])
    if most == least:
        most = least + 1.0
    ticks = [tick for tick in nice_ticks(least, most) if not whole or float(tick).is_integer()]
    return Axis(label, least, most, [(tick, f"{tick:,.10g}") for tick in ticks])


def ladder_axis(label: str, values: Iterable[float]) -> Axis:
    """Return an axis from 0 with a tick at each of ``values``, such as a ladder of eps. Texts never overlap."""
    ladder = sorted({0.0, *values})
    most = ladder[-1] or 1.0
    return Axis(label, 0.0, most, [(value, f"{value:g}") for value in ladder])


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return at most ``most`` multiples of 1, 2 or 5 times a power of ten between ``low`` and ``high``."""
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


@dataclass(frozen=True)
class Plot:
    """The area of a plot, with its edges in pixels and its two axes."""

    left: float
    top: float
    right: float
    bottom: float
    across: Axis
    up: Axis

    def x(self, value: float) -> float:
        """Return the horizontal position of ``value``, in pixels."""
        return self.left + self.across.share(value) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Return the vertical position of ``value``, in pixels."""
        return self.bottom - self.up.share(value) * (self.bottom - self.top)

    def draw(self, scene: Scene) -> None:
        """Draw grid, ticks, and the label of the horizontal axis. The other label is above the plot."""
        for value, text in self.up.ticks:
            scene.line([(self.left, self.y(value)), (self.right, self.y(value))], RULE)
            scene.text(self.left - 6, self.y(value) + 4, text, size=TICK_SIZE, colour=SOFT, anchor="end")
        # Ticks of a ladder may be closer than their texts are wide: texts without room are omitted.
        free = -math.inf
        for value, text in self.across.ticks:
            x = self.x(value)
            half = text_width(text, TICK_SIZE) / 2
            scene.line([(x, self.bottom), (x, self.bottom + 4)], SOFT)
            if x - half > free:
                scene.text(x, self.bottom + 16, text, size=TICK_SIZE, colour=SOFT, anchor="middle")
                free = x + half + _BETWEEN
        scene.line([(self.left, self.bottom), (self.right, self.bottom)], INK, opacity=0.5)
        label = fitted(self.across.label, TICK_SIZE, self.right)
        scene.text(self.right, self.bottom + 31, label, size=TICK_SIZE, colour=SOFT, anchor="end")
