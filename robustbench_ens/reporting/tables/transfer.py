"""A table of transferability between sub-models: the numbers of the heatmaps, with n and intervals."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.core.text import MEAN_AND_STD, NBSP, mean_and_std, with_brackets
from robustbench_ens.outcomes import ENSEMBLE

RATE = "Success rate"
COLUMNS = ["Ensemble", "eps", "Seed", "From", "To", "n", RATE]


def transfer_table(transfer: pd.DataFrame) -> pd.DataFrame:
    """Return one row per ensemble, eps, pair and seed, and after several seeds a row with their mean and deviation.

    Args:
        transfer: rows of ``derive.transferability``.

    Returns:
        the columns ``COLUMNS``, as text.
    """
    rows = []
    ordered = transfer.assign(last=transfer["target_member"] == ENSEMBLE)
    keys = ["ensemble", "eps", "source_member", "last", "target_member"]
    for (ensemble, eps, source, _, target), cell in ordered.groupby(keys, observed=True):
        pair = (str(source), "ensemble" if target == ENSEMBLE else str(target))
        for row in cell.sort_values("seed").to_dict("records"):
            rate = with_brackets(row["rate"], row["low"], row["high"])
            rows.append((ensemble, f"{eps:g}", str(row["seed"]), *pair, str(row["n"]), rate))
        if len(cell) > 1:
            rows.append(
                (ensemble, f"{eps:g}", MEAN_AND_STD, *pair, f"{len(cell)}{NBSP}seeds", mean_and_std(cell["rate"]))
            )
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)
