"""The parts of an ensemble's page on its outcomes: tests against others, variants, and rates by seed."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.analysis.compare import WORST
from robustbench_ens.analysis.health import marked
from robustbench_ens.core.text import shorten
from robustbench_ens.reporting.document import Block, Bullets, Table
from robustbench_ens.reporting.ensembles.one import One
from robustbench_ens.reporting.sections.ledger import sentence
from robustbench_ens.reporting.tables.accuracy import NUMBERS, accuracy_table
from robustbench_ens.reporting.tables.comparison import comparison_table
from robustbench_ens.reporting.tables.ledger import ledger_table


def comparison_blocks(one: One) -> list[Block]:
    """Return the paired tests between it and every other ensemble in the worst case."""
    collection = one.context.collection
    tests = collection.comparisons
    tests = tests[(tests["protocol"] == WORST) & ((tests["better"] == one.label) | (tests["worse"] == one.label))]
    if tests.empty:
        return []
    eps = tests["eps"].iloc[0]
    caption = f"Worst case at eps {eps:g}, paired tests. Only higher, only lower: images, over all seeds."
    numeric = ("Only higher", "Only lower", "n", "Seeds", "p", "p (Holm)")
    return [Table(comparison_table(tests, collection.unhealthy(WORST)), caption, numeric=numeric, stacked=True)]


def variant_blocks(one: One) -> list[Block]:
    """Return sentences on the variants that decide, seed by seed, and the ledgers on demand."""
    ledger = one.own(one.context.collection.ledger)
    blocks: list[Block] = []
    for protocol, rows in ledger.groupby("protocol", observed=True):
        seeds = list(rows.groupby("seed", observed=True))
        blocks.append(Bullets([sentence(f"{shorten(protocol, 64)}, seed {seed}", own) for seed, own in seeds]))
        for seed, own in seeds:
            caption = f"{protocol}, seed {seed}, eps {own['eps'].iloc[0]:g}: {len(own)} variants"
            numeric = ("Breaks", "Only it", "So far")
            blocks.append(Table(ledger_table(own), caption, numeric=numeric, collapsed=True))
    return blocks


def rate_blocks(one: One) -> list[Block]:
    """Return its accuracy under every protocol, by eps and seed."""
    rates = one.own(one.context.collection.accuracies)
    tables: list[pd.DataFrame] = []
    for protocol, rows in rates.groupby("protocol", observed=True):
        table = marked(accuracy_table(rows), one.context.collection.unhealthy(str(protocol)), NUMBERS)
        tables.append(table.drop(columns="Ensemble").assign(Protocol=str(protocol)))
    if not tables:
        return []
    caption = "Accuracy within eps, with Wilson 95% intervals; several seeds: mean ± standard deviation."
    table = pd.concat(tables, ignore_index=True)
    return [Table(table[["Protocol", *table.columns.drop("Protocol")]], caption, group="Protocol")]
