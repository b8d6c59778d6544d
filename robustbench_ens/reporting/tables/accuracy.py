"""Accuracy against eps under one protocol, each rate with its n and Wilson 95% interval."""

from __future__ import annotations

from collections.abc import Hashable

import pandas as pd

from robustbench_ens.core.text import MEAN_AND_STD, NBSP, mean_and_std, span, with_brackets
from robustbench_ens.reporting.tables.summary import over_seeds

NUMBERS = ["Accuracy"]
COLUMNS = ["Ensemble", "eps", "Seed", "n", *NUMBERS]
HEADS = ["Ensemble", "Seeds", "n"]
CLEAN = "clean"
"""What stands for eps 0."""


def accuracy_by_eps(accuracies: pd.DataFrame) -> pd.DataFrame:
    """One row per ensemble, one column per eps: the accuracy, over several seeds mean and standard deviation.

    Args:
        accuracies: rows of one protocol, as ``derive.accuracies`` gives them.

    Returns:
        the columns ``HEADS`` and one for each eps, ``CLEAN`` for 0, as text; empty where nothing was measured.
    """
    radii = sorted(accuracies["eps"].unique())
    rows = []
    for ensemble, own in accuracies.groupby("ensemble", observed=True):
        cells = {eps: over_seeds(cell, own) for eps, cell in own.groupby("eps", observed=True)}
        rows.append((ensemble, str(own["seed"].nunique()), span(own["n"]), *(cells.get(eps, "") for eps in radii)))
    return pd.DataFrame(rows, columns=[*HEADS, *map(_radius, radii)], dtype=str)


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
        for row in cell.to_dict("records"):
            accuracy = with_brackets(row["accuracy"], row["low"], row["high"])
            rows.append((ensemble, _radius(eps), str(row["seed"]), str(row["n"]), accuracy))
        if len(cell) > 1:
            size = f"{len(cell)}{NBSP}seeds"
            rows.append((ensemble, _radius(eps), MEAN_AND_STD, size, mean_and_std(cell["accuracy"])))
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)


def _radius(eps: Hashable) -> str:
    return f"{eps:g}" if eps else CLEAN
