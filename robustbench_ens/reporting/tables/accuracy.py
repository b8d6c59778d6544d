"""Tables of accuracy against eps under one protocol, with n and Wilson 95% intervals."""

from __future__ import annotations

from collections.abc import Hashable
from itertools import groupby
from operator import itemgetter

import pandas as pd

from robustbench_ens.core.text import MEAN_AND_STD, NBSP, mean_and_std, span, with_brackets
from robustbench_ens.reporting.tables.summary import over_seeds

NUMBERS = ["Accuracy"]
COLUMNS = ["Ensemble", "eps", "Seed", "n", *NUMBERS]
HEADS = ["Ensemble", "Seeds", "n"]
_READ = ["ensemble", "eps", "seed", "n", "accuracy", "low", "high"]
CLEAN = "clean"
"""The text for eps 0."""


def accuracy_by_eps(accuracies: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracies with one row per ensemble and one column per eps.

    For several seeds, a cell holds the mean and standard deviation.

    Args:
        accuracies: rows of ``derive.accuracies`` of one protocol.

    Returns:
        the columns ``HEADS`` and one for each eps, ``CLEAN`` for 0, as text. Cells without a measurement are empty.
    """
    radii = sorted(accuracies["eps"].unique())
    rows = []
    for ensemble, own in accuracies.groupby("ensemble", observed=True):
        cells = {eps: over_seeds(cell, own) for eps, cell in own.groupby("eps", observed=True)}
        rows.append((ensemble, str(own["seed"].nunique()), span(own["n"]), *(cells.get(eps, "") for eps in radii)))
    return pd.DataFrame(rows, columns=[*HEADS, *map(_radius, radii)], dtype=str)


def accuracy_table(accuracies: pd.DataFrame) -> pd.DataFrame:
    """Return one row per ensemble, eps and seed, and after several seeds a row with their mean and standard deviation.

    Args:
        accuracies: rows of ``derive.accuracies`` of one protocol.

    Returns:
        the columns ``COLUMNS``, as text.
    """
    rows = []
    # Grouping in pandas would make one frame per cell, which is too slow for the thousands of cells of a report.
    ordered = accuracies[_READ].astype({"ensemble": str}).sort_values(_READ[:3], kind="stable")
    for (ensemble, eps), own in groupby(ordered.itertuples(index=False, name=None), key=itemgetter(0, 1)):
        cell = list(own)
        for _, _, seed, n, accuracy, low, high in cell:
            rows.append((ensemble, _radius(eps), str(seed), str(n), with_brackets(accuracy, low, high)))
        if len(cell) > 1:
            size = f"{len(cell)}{NBSP}seeds"
            mean = mean_and_std(pd.Series([row[4] for row in cell]))
            rows.append((ensemble, _radius(eps), MEAN_AND_STD, size, mean))
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)


def _radius(eps: Hashable) -> str:
    return f"{eps:g}" if eps else CLEAN
