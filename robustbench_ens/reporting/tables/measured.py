"""The table of kinds that yield measurements and have no table of their own: the mean of each quantity, by ensemble."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.core.text import MEAN_AND_STD, NBSP, number_mean_and_std, number_with_interval
from robustbench_ens.outcomes import ENSEMBLE

COLUMNS = ["Quantity", "Ensemble", "eps", "Seed", "n", "Mean"]


def measured_table(measurements: pd.DataFrame, *, measures: str) -> pd.DataFrame:
    """Return one row per quantity, ensemble, eps and seed, and after several seeds one with their mean and deviation.

    Args:
        measurements: rows of ``outcomes.gather_measurements`` of one protocol.
        measures: the name of the measurements, see :class:`~robustbench_ens.config.kinds.KindFacts`.

    Returns:
        the columns ``COLUMNS``, as text: the ensemble's means with their 95% intervals over ``n`` images. Measurements
        of single sub-models are not included.
    """
    whole = (measurements["target_member"] == ENSEMBLE) & (measurements["source_member"] == ENSEMBLE)
    named = (measurements["name"] == measures) | measurements["name"].str.startswith(f"{measures}/")
    own = measurements[whole & named]
    means = own[~own["name"].str.endswith(("/standard_error", "/images"))]
    rows = []
    for (name, ensemble, eps), cell in means.groupby(["name", "ensemble", "eps"], observed=True):
        near = own[(own["ensemble"] == ensemble) & (own["eps"] == eps)].set_index(["name", "seed"])["value"]
        quantity = f"{str(name).replace('/', ' ').replace('_', ' ')}, {cell['unit'].iloc[0]}"
        for row in cell.sort_values("seed").to_dict("records"):
            error, images = (near.get((key, row["seed"])) for key in (f"{name}/standard_error", f"{measures}/images"))
            size = "" if images is None else f"{images:.0f}"
            mean = number_with_interval(row["value"], error)
            rows.append((quantity, ensemble, f"{eps:g}", str(row["seed"]), size, mean))
        if len(cell) > 1:
            size = f"{len(cell)}{NBSP}seeds"
            rows.append((quantity, ensemble, f"{eps:g}", MEAN_AND_STD, size, number_mean_and_std(cell["value"])))
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)
