"""What is printed after an evaluation: one table for each kind of question that was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from robustbench_ens.outcomes import OutcomeFile, gather, gather_measurements
from robustbench_ens.reporting import derive
from robustbench_ens.reporting.collect import told_apart
from robustbench_ens.reporting.health import collect_health, unhealthy
from robustbench_ens.reporting.tables.convergence import convergence_table
from robustbench_ens.reporting.tables.distillation import distillation_table
from robustbench_ens.reporting.tables.diversity import diversity_table
from robustbench_ens.reporting.tables.summary import summarise
from robustbench_ens.reporting.text import kind_name

MEASURED: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "diversity": diversity_table,
    "distillation": distillation_table,
}
"""Tables of the kinds that leave measurements."""


def summaries(files: Sequence[OutcomeFile]) -> dict[str, pd.DataFrame]:
    """Tables of text by title: the summary, then one of each protocol that a summary has no room for.

    Numbers of the summary that rest on an unhealthy attack are marked.

    Raises:
        UserError: two files answer the same question.
    """
    files = told_apart(files)
    outcomes, measurements = gather(files), gather_measurements(files)
    tables: dict[str, pd.DataFrame] = {}
    if outcomes["kind"].isin([*derive.ACCURACY_KINDS, "transferability"]).any():
        sick = unhealthy(collect_health(files))
        tables[""] = summarise(derive.accuracies(outcomes), derive.transferability(outcomes), unhealthy=sick)
    for (kind, protocol), rates in derive.convergence(outcomes).groupby(["kind", "protocol"], observed=True):
        tables[f"{kind_name(str(kind))}, {protocol}"] = convergence_table(rates)
    for (kind, protocol), rows in measurements.groupby(["kind", "protocol"], observed=True):
        if kind in MEASURED:
            tables[f"{kind_name(str(kind))}, {protocol}"] = MEASURED[str(kind)](rows)
    return tables
