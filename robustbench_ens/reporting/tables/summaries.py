"""What is printed after an evaluation: one table for each kind of question that was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from robustbench_ens.outcomes import OutcomeFile
from robustbench_ens.reporting import derive
from robustbench_ens.reporting.collect import Collection, collect
from robustbench_ens.reporting.health import marked, unhealthy
from robustbench_ens.reporting.tables.convergence import SUBJECT, convergence_table
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
    """:func:`summary_tables` of ``files``.

    Raises:
        UserError: there are no files, or two of them answer the same question.
    """
    return summary_tables(collect(files))


def summary_tables(collection: Collection) -> dict[str, pd.DataFrame]:
    """Tables of text by title: the summary, then one of each protocol that a summary has no room for.

    Numbers that rest on an unhealthy attack are marked.
    """
    tables: dict[str, pd.DataFrame] = {}
    asked = {document["protocol"]["kind"] for document in collection.provenance}
    if asked & {*derive.ACCURACY_KINDS, "transferability"}:
        sick = unhealthy(collection.health)
        tables[""] = summarise(collection.accuracies, collection.transferability, unhealthy=sick)
    for (kind, protocol), rates in collection.convergence.groupby(["kind", "protocol"], observed=True):
        table = convergence_table(rates)
        numbers = [str(column) for column in table if column not in SUBJECT]
        tables[f"{kind_name(str(kind))}, {protocol}"] = marked(table, collection.sick(str(protocol)), numbers)
    for (kind, protocol), rows in collection.measurements.groupby(["kind", "protocol"], observed=True):
        if kind in MEASURED:
            tables[f"{kind_name(str(kind))}, {protocol}"] = MEASURED[str(kind)](rows)
    return tables
