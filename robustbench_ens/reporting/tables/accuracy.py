"""Accuracy against eps under one protocol, each rate with its n and Wilson 95% interval."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.reporting.derive import with_interval
from robustbench_ens.reporting.text import MEAN_AND_STD, NBSP, mean_and_std, with_brackets

NUMBERS = ["Accuracy", "… and clean right"]
COLUMNS = ["Ensemble", "eps", "Seed", "n", *NUMBERS]


def accuracy_table(accuracies: pd.DataFrame) -> pd.DataFrame:
    """One row per ensemble, eps and seed; after several seeds a row with their mean and standard deviation.

    Args:
        accuracies: rows of one protocol, as ``derive.accuracies`` gives them.

    Returns:
        the columns ``COLUMNS``, as text.
    """
    rows = []
    for (ensemble, eps), cell in accuracies.groupby(["ensemble", "eps"], observed=True):
        cell = cell.sort_values("seed")
        strict = with_interval(cell, "correct_clean", "rate")
        radius = f"{eps:g}" if eps else "clean"
        for row, both in zip(cell.to_dict("records"), strict.to_dict("records"), strict=True):
            alone = with_brackets(row["accuracy"], row["low"], row["high"])
            with_clean = with_brackets(both["rate"], both["low"], both["high"])
            rows.append((ensemble, radius, str(row["seed"]), str(row["n"]), alone, with_clean))
        if len(cell) > 1:
            size = f"{len(cell)}{NBSP}seeds"
            rows.append(
                (ensemble, radius, MEAN_AND_STD, size, mean_and_std(cell["accuracy"]), mean_and_std(strict["rate"]))
            )
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)
