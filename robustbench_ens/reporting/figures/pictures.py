"""Images in figures: shown pixel by pixel, their classes by number and name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

from robustbench_ens.core.text import printable, shorten


def show(axes: mpl.axes.Axes, image: npt.NDArray[Any], extent: tuple[float, float, float, float] | None = None) -> None:
    """Draw ``image`` ``(C, H, W)``, grey or RGB, uint8 or in [0, 1], as sharp pixels."""
    scaled = image / 255 if image.dtype == np.uint8 else np.clip(image, 0, 1)
    colours = np.repeat(scaled, 3, axis=0) if len(scaled) == 1 else scaled
    axes.imshow(colours.transpose(1, 2, 0), interpolation="none", extent=extent)


def class_name(number: int, names: Sequence[str], length: int = 24) -> str:
    """``3 cat``; the number alone where the class has no other name."""
    name = printable(names[number]) if number < len(names) else ""
    return str(number) if name in ("", str(number)) else f"{number} {shorten(name, length)}"
