"""Colours of cells by their value. They are readable on light and dark pages, since each cell has its own ground."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

RGB = tuple[int, int, int]

_RAMP: Sequence[tuple[float, RGB]] = ((0.0, (232, 238, 252)), (0.5, (133, 163, 236)), (1.0, (38, 74, 178)))
_DIVERGING: Sequence[tuple[float, RGB]] = (
    *((-1.0, (176, 84, 10)), (-0.4, (238, 178, 112)), (0.0, (238, 240, 244))),
    *((0.4, (133, 163, 236)), (1.0, (38, 74, 178))),
)
BLACK = "#000000"
WHITE = "#ffffff"


def ramp(share: float) -> str:
    """Return the colour of a share in [0, 1]: one hue, darker for more."""
    return _between(_RAMP, share)


def diverging(difference: float) -> str:
    """Return the colour of a difference in [-1, 1]: blue above 0, orange below."""
    return _between(_DIVERGING, difference)


def on(fill: str) -> str:
    """Return the colour of text on ``fill``, black or white: the one with more contrast."""
    # WCAG 2: the contrast to black is (own + 0.05) / 0.05, to white 1.05 / (own + 0.05).
    own = _luminance(fill)
    return BLACK if (own + 0.05) ** 2 > 0.05 * 1.05 else WHITE


def _between(stops: Sequence[tuple[float, RGB]], value: float) -> str:
    held = min(max(value, stops[0][0]), stops[-1][0])
    for (low, first), (high, second) in pairwise(stops):
        if held <= high:
            part = (held - low) / (high - low)
            mixed = [round(one + part * (other - one)) for one, other in zip(first, second, strict=True)]
            break
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def _luminance(colour: str) -> float:
    """Return the relative luminance as WCAG 2 defines it."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
