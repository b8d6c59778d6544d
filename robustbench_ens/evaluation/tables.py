"""Rows of the two tables that an evaluation writes: outcomes and measurements."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from robustbench_ens.outcomes import ENSEMBLE, OUTCOMES


def no_outcomes() -> pd.DataFrame:
    """Return the empty outcomes of a part that produces only measurements or arrays."""
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
    """Return a row of the measurements table about ``target``, which is also the default ``source``."""
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
    """Return the columns ``predicted`` and ``correct``, null where not ``tried``, all of shape ``(n,)``."""
    classes = pd.Series(pd.array(np.where(tried, predicted, 0), dtype="Int32").copy())
    right = pd.Series(pd.array(predicted == labels, dtype="boolean"))
    return {"predicted": classes.mask(~tried), "correct": right.mask(~tried)}
