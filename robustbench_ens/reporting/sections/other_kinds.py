"""Sections of the kinds that yield accuracy by steps or measurements: the tables of each protocol."""

from __future__ import annotations

from robustbench_ens.analysis.health import marked
from robustbench_ens.config.kinds import BY_STEPS, MEASUREMENTS
from robustbench_ens.core.text import anchor
from robustbench_ens.reporting.collect import Collection
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, Paragraph, Section, Table
from robustbench_ens.reporting.filters import facts_of
from robustbench_ens.reporting.sections.accuracy import missing_blocks, shown
from robustbench_ens.reporting.tables.convergence import SUBJECT, convergence_table
from robustbench_ens.reporting.tables.measured import COLUMNS, measured_table


def other_kinds_sections(context: Context) -> list[Section]:
    """Return one section for each such kind that was run, with one table per protocol."""
    collection = context.collection
    by_kind = {
        **{kind: _by_steps(collection, kind) for kind in shown(collection, BY_STEPS)},
        **{kind: _measured(collection, kind) for kind in shown(collection, MEASUREMENTS)},
    }
    sections = []
    for kind, tables in by_kind.items():
        facts = collection.kinds[kind]
        blocks: list[Block] = [Paragraph(facts.meaning or ""), *tables, *missing_blocks(collection, kind)]
        sections.append(Section(facts.title, anchor(kind), blocks))
    return sections


def _by_steps(collection: Collection, kind: str) -> list[Table]:
    tables = []
    rates = collection.convergence[collection.convergence["kind"] == kind]
    for protocol, rows in rates.groupby("protocol", observed=True):
        table = convergence_table(rows)
        numbers = [str(column) for column in table if column not in SUBJECT]
        caption = f"{protocol}: accuracy by the number of attack steps, with its Wilson 95% interval."
        table = marked(table, collection.unhealthy(str(protocol)), numbers)
        chosen = collection.chosen_here({str(protocol)}, set(table["Ensemble"]))
        tables.append(Table(table, caption, group="Ensemble", facts=facts_of(rows), chosen=chosen))
    return tables


def _measured(collection: Collection, kind: str) -> list[Table]:
    tables = []
    rows = collection.measurements[collection.measurements["kind"] == kind]
    for protocol, own in rows.groupby("protocol", observed=True):
        table = measured_table(own, measures=collection.kinds[kind].measures)
        table = marked(table, collection.unhealthy(str(protocol)), COLUMNS[-1:])
        caption = f"{protocol}: means over n images, with their 95% intervals."
        chosen = collection.chosen_here({str(protocol)}, set(table["Ensemble"]))
        tables.append(Table(table, caption, group="Ensemble", facts=facts_of(own), chosen=chosen))
    return tables
