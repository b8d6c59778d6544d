"""The distance to the nearest decision boundary in the plane of a decision-region figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from robustbench_ens.core.text import percent
from robustbench_ens.reporting.figures.pictures import class_name


def nearest_boundary(classes: npt.NDArray[np.integer[Any]], label: int, eps: float) -> tuple[float, int] | None:
    """Return distance and class of the nearest point of the grid that is not classified as ``label``, or None.

    The distance is ``|row| + |column|``, which is the l-infinity distance, or an upper bound of it where pixels were
    clipped. Among equally near points, the lowest class counts.

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
    """Return one row for the ensemble and each sub-model.

    A row holds the shares of the ball and of the square that are classified correctly, and the nearest boundary.
    """
    half = regions.shape[1] // 2
    steps = np.abs(np.arange(-half, half + 1))
    ball = steps[:, None] + steps[None, :] <= half
    rows = []
    # The ensemble's regions are stored behind those of its sub-models, but its row comes first.
    for member in (len(regions) - 1, *range(len(regions) - 1)):
        right = regions[member] == label
        found = nearest_boundary(regions[member], label, eps)
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
