"""Lengths in pixel scale as text."""

from __future__ import annotations

import math


def pixels(size: float | str) -> str:
    """Return a length in pixel scale as it is usually written, such as ``0.07`` or ``8/255``. Text is unchanged."""
    if isinstance(size, str):
        return size
    short = f"{size:.4g}"
    of_255 = round(size * 255)
    if math.isclose(float(short), size, rel_tol=1e-9) or not math.isclose(of_255 / 255, size, rel_tol=1e-9):
        return short
    return f"{of_255}/255"
