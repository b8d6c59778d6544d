"""Rows of the two tables that an evaluation leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from robustbench_ens.outcomes import ENSEMBLE, OUTCOMES


def no_outcomes() -> pd.DataFrame:
    """What a part computes that leaves only measurements or arrays."""
    return pd.DataFrame(columns=OUTCOMES.names)


def measurement(
    target: str,
    name: str,
    value: float,
    unit: str,
    *,
    step: int = 0,
    member: int = ENSEMBLE,
    source: str | None = None,
    source_member: int = ENSEMBLE,
    eps: float = 0.0,
) -> dict:
    """One row of the measurements table about ``target``; where no ``source`` is given it is the target itself."""
    return {
        "target": target,
        "target_member": member,
        "source": target if source is None else source,
        "source_member": source_member,
        "name": name,
        "eps": eps,
        "step": step,
        "value": float(value),
        "unit": unit,
    }


def predictions(predicted: npt.NDArray[Any], labels: npt.NDArray[Any], tried: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Return the columns ``predicted`` and ``correct``, null where nothing was ``tried``; all of shape ``(n,)``."""
    classes = pd.Series(pd.array(np.where(tried, predicted, 0), dtype="Int32").copy())
    right = pd.Series(pd.array(predicted == labels, dtype="boolean"))
    return {"predicted": classes.mask(~tried), "correct": right.mask(~tried)}
