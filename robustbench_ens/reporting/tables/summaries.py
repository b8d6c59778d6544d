"""The tables that are printed after an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd

from robustbench_ens.analysis.health import marked, unhealthy
from robustbench_ens.config.kinds import ACCURACY, TRANSFER
from robustbench_ens.outcomes import OutcomeFile
from robustbench_ens.reporting.collect import Collection, collect
from robustbench_ens.reporting.tables.convergence import SUBJECT, convergence_table
from robustbench_ens.reporting.tables.distillation import distillation_table
from robustbench_ens.reporting.tables.diversity import diversity_table
from robustbench_ens.reporting.tables.measured import measured_table
from robustbench_ens.reporting.tables.summary import summarise

TABLES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "diversity": diversity_table,
    "distillation": distillation_table,
}
"""The tables of kinds that yield measurements and have a table of their own. Other kinds share one."""


def summaries(files: Sequence[OutcomeFile]) -> dict[str, pd.DataFrame]:
    """Return the :func:`summary_tables` of ``files``.

    Raises:
        UserError: there are no files, or two of them have the same protocol, ensemble and seed.
    """
    return summary_tables(collect(files))


def summary_tables(collection: Collection) -> dict[str, pd.DataFrame]:
    """Return tables of text by title: the summary, then one for each protocol that does not fit into it.

    Numbers that rest on an unhealthy attack are marked.
    """
    tables: dict[str, pd.DataFrame] = {}
    kinds = collection.kinds
    yields = {kinds[document["protocol"]["kind"]].yields for document in collection.provenance}
    if yields & {ACCURACY, TRANSFER}:
        marks = unhealthy(collection.health)
        tables[""] = summarise(collection.accuracies, collection.transferability, unhealthy=marks, kinds=kinds)
    for (kind, protocol), rates in collection.convergence.groupby(["kind", "protocol"], observed=True):
        table = convergence_table(rates)
        numbers = [str(column) for column in table if column not in SUBJECT]
        tables[f"{kinds[str(kind)].title}, {protocol}"] = marked(table, collection.unhealthy(str(protocol)), numbers)
    for (kind, protocol), rows in collection.measurements.groupby(["kind", "protocol"], observed=True):
        facts = kinds[str(kind)]
        make = TABLES.get(str(kind), partial(measured_table, measures=facts.measures))
        tables[f"{facts.title}, {protocol}"] = make(rows)
    return tables
