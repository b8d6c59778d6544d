"""Transferability between the sub-models of each ensemble: heatmaps, and their numbers with intervals."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.analysis.health import marked
from robustbench_ens.config.kinds import TRANSFER
from robustbench_ens.core.text import anchor, slug, span
from robustbench_ens.reporting.collect import Collection
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, FigureBlock, Figures, Paragraph, Section, Table
from robustbench_ens.reporting.figures.transfer_heatmap import transfer_heatmap
from robustbench_ens.reporting.filters import facts_of
from robustbench_ens.reporting.sections.accuracy import missing_blocks, shown
from robustbench_ens.reporting.tables.transfer import RATE, transfer_table


def transfer_sections(context: Context) -> list[Section]:
    """Return the sections of kinds that yield transfer rates; of one not expected, if it was run."""
    collection = context.collection
    return [transfer_section(collection, kind) for kind in shown(collection, TRANSFER)]


def transfer_section(collection: Collection, kind: str) -> Section:
    """One heatmap per ensemble and eps of every protocol, and one table per protocol."""
    facts = collection.kinds[kind]
    blocks: list[Block] = [Paragraph(facts.meaning or "")]
    number = 0
    rates = collection.transferability[collection.transferability["kind"] == kind]
    for protocol, rows in rates.groupby("protocol", observed=True):
        for ensemble, own in rows.groupby("ensemble", observed=True):
            figures = []
            for eps in sorted(own["eps"].unique()):
                number += 1
                figures.append(_figure(f"{anchor(kind)}-{number}", str(ensemble), eps, own[own["eps"] == eps]))
            blocks.append(Figures(figures, f"{ensemble} under {protocol}. {_seeds(own)}"))
        caption = f"{protocol}: the numbers of the heatmaps, each with its n and Wilson 95% interval."
        table = marked(transfer_table(rows), collection.sick(str(protocol)), [RATE])
        blocks.append(Table(table, caption, group="Ensemble", collapsed=True, facts=facts_of(rows)))
    return Section(facts.title, anchor(kind), blocks + missing_blocks(collection, kind))


def _figure(name: str, ensemble: str, eps: float, cell: pd.DataFrame) -> FigureBlock:
    seeds = cell["seed"].nunique()
    note = f"eps {eps:g}, n = {span(cell['n'])}" + (f", {seeds} seeds" if seeds > 1 else "")
    alt = f"Transferability between the sub-models of {ensemble} at eps {eps:g}; the table below holds the numbers."
    name = f"{name}-{slug(ensemble)}-eps-{slug(f'{eps:g}')}"
    return FigureBlock(name, transfer_heatmap(cell, ensemble, note), alt, facts_of(cell))


def _seeds(rows: pd.DataFrame) -> str:
    return "Cells are means over seeds." if rows["seed"].nunique() > 1 else "One seed."
