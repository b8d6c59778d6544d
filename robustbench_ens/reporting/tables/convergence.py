"""A table of accuracy by the number of attack steps, as in Table 8 of DVERGE, which shows if the attack converged."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.core.text import MEAN_AND_STD, NBSP, mean_and_std, points, with_brackets

CHANGE = "Largest change"
SUBJECT = ["Ensemble", "eps", "Seed", "n"]


def convergence_table(rates: pd.DataFrame) -> pd.DataFrame:
    """Return one row per ensemble, eps and seed, and after several seeds a row with their mean and standard deviation.

    Args:
        rates: rows of ``derive.convergence`` of one protocol.

    Returns:
        as text: ``Ensemble``, ``eps``, ``Seed``, ``n``, one column for each number of steps with the accuracy and its
        Wilson 95% interval, and the largest change from the fewest steps, in percentage points. A decrease is negative.
    """
    ladder = sorted(int(steps) for steps in rates["steps"].unique())
    columns = [*SUBJECT, *(f"{steps:,} steps" for steps in ladder), CHANGE]
    rows = []
    for (ensemble, eps), cell in rates.groupby(["ensemble", "eps"], observed=True):
        for seed, own in cell.sort_values("steps").groupby("seed"):
            texts = [with_brackets(row["accuracy"], row["low"], row["high"]) for row in own.to_dict("records")]
            change = largest_change(own["accuracy"])
            rows.append((ensemble, f"{eps:g}", str(seed), str(own["n"].iloc[0]), *texts, points(change)))
        if cell["seed"].nunique() > 1:
            by_steps = [mean_and_std(own["accuracy"]) for _, own in cell.groupby("steps")]
            means = cell.groupby("steps")["accuracy"].mean()
            size = f"{cell['seed'].nunique()}{NBSP}seeds"
            rows.append((ensemble, f"{eps:g}", MEAN_AND_STD, size, *by_steps, points(largest_change(means))))
    return pd.DataFrame(rows, columns=columns, dtype=str)


def largest_change(accuracies: pd.Series) -> float:
    """Return the change from the first of ``accuracies`` that is largest in magnitude.

    The accuracies are in ascending order of steps.
    """
    changes = accuracies.iloc[1:] - accuracies.iloc[0]
    return float(changes.iloc[changes.abs().argmax()]) if len(changes) else 0.0
