"""Images in figures: their pixels, and their classes by number and name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from robustbench_ens.core.text import printable, shorten


def pixels(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return ``image`` ``(C, H, W)``, grey or RGB, uint8 or in [0, 1], as uint8 ``(H, W, 3)``."""
    scaled = image if image.dtype == np.uint8 else np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
    colours = np.repeat(scaled, 3, axis=0) if len(scaled) == 1 else scaled
    return np.ascontiguousarray(colours.transpose(1, 2, 0))


def class_name(number: int, names: Sequence[str], length: int = 24) -> str:
    """Return a class as number and name, such as ``3 cat``, or only the number if the class has no other name."""
    name = printable(names[number]) if number < len(names) else ""
    return str(number) if name in ("", str(number)) else f"{number} {shorten(name, length)}"
