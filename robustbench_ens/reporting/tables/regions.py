"""How far the nearest decision boundary is, in the plane of a decision-region figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from robustbench_ens.core.text import percent
from robustbench_ens.reporting.figures.pictures import class_name


def nearest_boundary(classes: npt.NDArray[np.integer[Any]], label: int, eps: float) -> tuple[float, int] | None:
    """Distance and class of the nearest point of the grid that is not given ``label``; none if all are.

    The distance is ``|row| + |column|``: l-infinity, and an upper bound where pixels were clipped. Of points equally
    near, the lowest class counts.

    Args:
        classes: ``(grid, grid)``, rows and columns from ``-eps`` to ``eps``.
        label: the true class.
        eps: half the side of the square.
    """
    half = len(classes) // 2
    steps = np.abs(np.arange(-half, half + 1))
    distance = steps[:, None] + steps[None, :]
    wrong = classes != label
    if not wrong.any():
        return None
    nearest = distance[wrong].min()
    return float(nearest * eps / half), int(classes[wrong & (distance == nearest)].min())


def regions_rows(
    ensemble: str, regions: npt.NDArray[np.integer[Any]], label: int, names: Sequence[str], eps: float
) -> list[dict[str, str]]:
    """One row for the ensemble and each sub-model: the share of the ball and the square that is right, the boundary."""
    half = regions.shape[1] // 2
    steps = np.abs(np.arange(-half, half + 1))
    ball = steps[:, None] + steps[None, :] <= half
    rows = []
    for member in (len(regions) - 1, *range(len(regions) - 1)):
        right, found = regions[member] == label, nearest_boundary(regions[member], label, eps)
        rows.append(
            {
                "Ensemble": ensemble,
                "Model": "ensemble" if member == len(regions) - 1 else f"sub-model {member}",
                "Right within eps": percent(right[ball].mean()),
                "Right in the square": percent(right.mean()),
                "Nearest other class": "none" if found is None else class_name(found[1], names),
                "At l-infinity": "none" if found is None else f"{found[0]:.3g}",
            }
        )
    return rows
