"""Diversity between sub-models (Equation 2 of DVERGE): a table of means, and the matrix of an ensemble's pairs."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.core.text import MEAN_AND_STD, NBSP, number_mean_and_std, number_with_interval
from robustbench_ens.outcomes import ENSEMBLE

NAME = "diversity"
COLUMNS = ["Ensemble", "eps", "Seed", "n", "Diversity, nats", "Lowest to highest pair"]


def diversity_matrix(measurements: pd.DataFrame) -> pd.DataFrame:
    """Return ``d(f_i, f_j)`` of Equation 2 in nats, ``(M, M)`` and symmetric.

    The diagonal holds the loss of each sub-model with itself.

    Args:
        measurements: rows of ``outcomes.gather_measurements`` of one ensemble and seed at one eps under one protocol.
    """
    rows = measurements[(measurements["name"] == NAME) & (measurements["target_member"] != ENSEMBLE)]
    losses = rows.pivot(index="source_member", columns="target_member", values="value")
    return (losses + losses.T) / 2


def diversity_table(measurements: pd.DataFrame) -> pd.DataFrame:
    """Return one row per ensemble, eps and seed, and after several seeds a row with their mean and standard deviation.

    Args:
        measurements: rows of ``outcomes.gather_measurements`` of one protocol.

    Returns:
        the columns ``COLUMNS``, as text: the mean over pairs with its 95% interval over ``n`` images, and the lowest
        and the highest pair.
    """
    rows = []
    own = measurements[measurements["name"].str.startswith(NAME)]
    for (ensemble, eps), cell in own.groupby(["ensemble", "eps"], observed=True):
        whole = cell[cell["target_member"] == ENSEMBLE].pivot(index="seed", columns="name", values="value")
        for seed, numbers in whole.sort_index().iterrows():
            mean = number_with_interval(numbers[NAME], numbers.get(f"{NAME}/standard_error"))
            size = f"{numbers[f'{NAME}/images']:.0f}"
            rows.append((ensemble, f"{eps:g}", str(seed), size, mean, _extremes(cell[cell["seed"] == seed])))
        if len(whole) > 1:
            size = f"{len(whole)}{NBSP}seeds"
            mean = number_mean_and_std(whole[NAME])
            rows.append((ensemble, f"{eps:g}", MEAN_AND_STD, size, mean, ""))
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)


def _extremes(measurements: pd.DataFrame) -> str:
    pairs = diversity_matrix(measurements)
    values = [pairs.loc[i, j] for i in pairs.index for j in pairs.columns if i < j]
    return f"{min(values):.3f} to {max(values):.3f}"
