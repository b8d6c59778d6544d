"""What is printed after an evaluation: one table for each kind of question that was asked."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from robustbench_ens.reporting import derive
from robustbench_ens.reporting.tables.convergence import convergence_table
from robustbench_ens.reporting.tables.distillation import distillation_table
from robustbench_ens.reporting.tables.diversity import diversity_table
from robustbench_ens.reporting.tables.summary import summary
from robustbench_ens.reporting.text import kind_name

MEASURED: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "diversity": diversity_table,
    "distillation": distillation_table,
}
"""Tables of the kinds that leave measurements."""


def summaries(outcomes: pd.DataFrame, measurements: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Tables of text by title: the summary, then one of each protocol that a summary has no room for.

    Args:
        outcomes: as :func:`robustbench_ens.outcomes.gather` gives them.
        measurements: as :func:`robustbench_ens.outcomes.gather_measurements` gives them.
    """
    tables: dict[str, pd.DataFrame] = {}
    if outcomes["kind"].isin([*derive.ACCURACY_KINDS, "transferability"]).any():
        tables[""] = summary(outcomes)
    for (kind, protocol), rates in derive.convergence(outcomes).groupby(["kind", "protocol"], observed=True):
        tables[f"{kind_name(str(kind))}, {protocol}"] = convergence_table(rates)
    for (kind, protocol), rows in measurements.groupby(["kind", "protocol"], observed=True):
        if kind in MEASURED:
            tables[f"{kind_name(str(kind))}, {protocol}"] = MEASURED[str(kind)](rows)
    return tables
