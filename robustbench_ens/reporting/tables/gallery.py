"""Predictions of the images of a gallery, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from robustbench_ens.reporting.figures.gallery import Row, marked
from robustbench_ens.reporting.figures.pictures import class_name


def gallery_table(
    rows: Sequence[Row],
    indices: npt.NDArray[np.integer[Any]],
    labels: npt.NDArray[np.integer[Any]],
    names: Sequence[str],
) -> pd.DataFrame:
    """One row per image and variant: the true class, the ensemble's prediction and those of the sub-models."""
    table = []
    for k, (index, label) in enumerate(zip(indices, labels, strict=True)):
        for row in rows:
            *members, whole = (int(number) for number in row.predicted[k])
            table.append(
                {
                    "Image": f"test image {index}, class {class_name(int(label), names)}",
                    "Attack": ", ".join(row.title),
                    "Ensemble says": class_name(whole, names) + marked(whole, int(label)).removeprefix(str(whole)),
                    "Sub-models say": ", ".join(marked(member, int(label)) for member in members),
                }
            )
    return pd.DataFrame(table, dtype=str)
