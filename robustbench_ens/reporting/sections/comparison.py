"""Which ensembles differ significantly: paired tests between two at a time, one table per protocol."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.analysis.compare import WORST
from robustbench_ens.reporting.collect import Collection
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, Paragraph, Section, Table
from robustbench_ens.reporting.filters import facts_of
from robustbench_ens.reporting.tables.comparison import comparison_table

MEANING = (
    "Do two ensembles differ by more than luck, on the images that both were attacked on? McNemar's exact test looks "
    "at the images that only one of them gets right. Over several seeds, seed is paired with seed, the largest p-value "
    "counts (1 where the seeds disagree about who is better), and Welch's t-test between the accuracies of the seeds "
    "must agree: p is the larger of the two. With one seed a verdict is about these weights alone. Holm's correction "
    "runs over the pairs of one table; a verdict stands where the corrected p is below 0.05. The interval of a "
    "difference is a bootstrap over images."
)
_OPEN = 10  # pairs that a table shows unasked


def comparison_sections(context: Context) -> list[Section]:
    """Return the section, or none if no two ensembles share images; the worst case comes first."""
    collection = context.collection
    found = collection.comparisons
    tables: list[Block] = []
    groups = found.assign(last=found["protocol"] != WORST).groupby(["dataset", "last", "protocol"], observed=True)
    for (dataset, _, protocol), rows in groups:
        tables.append(_table(collection, str(dataset), str(protocol), rows))
    return [Section("Who beats whom", "comparison", [Paragraph(MEANING), *tables])] if tables else []


def _table(collection: Collection, dataset: str, protocol: str, rows: pd.DataFrame) -> Table:
    first = protocol == WORST
    name = f"{dataset}, {protocol}" if first else protocol
    told = int(rows["supported"].sum())
    caption = (
        f"{name} at eps {rows['eps'].iloc[0]:g}: {told} of {_pairs(len(rows))} differ significantly. Only higher, only "
        f"lower: images that only this one gets right, over all seeds.{_left_out(int(rows['left_out'].iloc[0]))}"
    )
    numeric = ("Only higher", "Only lower", "n", "Seeds", "p", "p (Holm)")
    facts = facts_of(rows[["dataset"]] if first else rows)
    collapsed = not first or len(rows) > _OPEN
    table = comparison_table(rows, collection.sick(protocol))
    return Table(table, caption, numeric=numeric, collapsed=collapsed, facts=facts)


def _left_out(pairs: int) -> str:
    if not pairs:
        return ""
    return (
        f" Left out: {_pairs(pairs)}. Of so many ensembles, only the first with each and neighbours in the order of "
        "their accuracies are compared; Holm's correction counts the others too."
    )


def _pairs(number: int) -> str:
    return f"{number:,} {'pair' if number == 1 else 'pairs'}"
