"""Measured numbers of one outcomes file: means over images that are not rates, with their standard errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from robustbench_ens.config.kinds import facts_of
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import ENSEMBLE, OutcomeFile

_ERROR = "/standard_error"
_MEMBERS = ["target_member", "source_member"]


@dataclass(frozen=True)
class Measured:
    """A mean over ``images`` images and its standard error, in ``unit``."""

    value: float
    standard_error: float
    images: int
    unit: str


def measured(file: OutcomeFile) -> dict[str, Measured]:
    """Return the measured cells of ``file``: two means over sub-models for each quantity at each eps.

    ``<quantity> at eps <eps>`` is the ensemble's mean over sub-models or over pairs of different ones. ``<quantity>
    onto itself at eps <eps>`` is the mean over sub-models that are both source and target. Its standard error is the
    mean of theirs, which is an upper bound. Sub-models are exchangeable over seeds, so only means are compared.

    Raises:
        UserError: a mean lacks its standard error or the number of images.
    """
    measures = facts_of(file.provenance["protocol"]).measures
    if not measures:
        return {}
    rows = file.measurements.astype({"name": str, "unit": str})
    rows = rows[(rows["name"] == measures) | rows["name"].str.startswith(f"{measures}/")]
    about = rows["name"].str.endswith((_ERROR, "/images"))
    cells = {}
    for (name, eps), means in rows[~about].groupby(["name", "eps"]):
        images = _one(
            file, rows, f"{measures}/images", eps, means.assign(target_member=ENSEMBLE, source_member=ENSEMBLE)
        )
        errors = _one(file, rows, f"{name}{_ERROR}", eps, means)
        source = means["source_member"]
        target = means["target_member"]
        # Sub-models have numbers from 0; ENSEMBLE is negative and would count as onto itself, too.
        both = {"": (source == ENSEMBLE) & (target == ENSEMBLE), " onto itself": (source == target) & (source >= 0)}
        for suffix, which in both.items():
            if which.any():
                cells[f"{str(name).replace('/', ' ').replace('_', ' ')}{suffix} at eps {eps:g}"] = Measured(
                    float(means.loc[which, "value"].mean()),
                    float(errors[which].mean()),
                    int(images[which].iloc[0]),
                    str(means["unit"].iloc[0]),
                )
    return cells


def _one(file: OutcomeFile, rows: pd.DataFrame, name: str, eps: Any, means: pd.DataFrame) -> pd.Series:
    """Return, for each row of ``means``, the value of ``name`` at ``eps`` for the same members."""
    found = rows[(rows["name"] == name) & (rows["eps"] == eps)].set_index(_MEMBERS)["value"]
    values = found.reindex(pd.MultiIndex.from_frame(means[_MEMBERS])) if found.index.is_unique else found[:0]
    if len(values) != len(means) or values.isna().any():
        raise UserError(
            f"{file.path}: expected one measurement {name!r} for each mean at eps {eps:g}, got gaps or repeats; "
            "measure on at least 2 images, or delete the file and run `rbe attack` again"
        )
    return values.set_axis(means.index)
