"""A table of the predictions on the images of a gallery."""

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
    """Return one row per image and variant, with the true class and the predictions of ensemble and sub-models."""
    table = []
    for k, (index, label) in enumerate(zip(indices, labels, strict=True)):
        for row in rows:
            *members, whole = (int(number) for number in row.predicted[k])
            table.append(
                {
                    "Image": f"test image {index}, class {class_name(int(label), names)}",
                    "Attack": ", ".join(row.title),
                    "Ensemble predicts": class_name(whole, names) + marked(whole, int(label)).removeprefix(str(whole)),
                    "Sub-models predict": ", ".join(marked(member, int(label)) for member in members),
                }
            )
    return pd.DataFrame(table, dtype=str)
