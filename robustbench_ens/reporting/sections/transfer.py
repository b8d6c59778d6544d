"""Sections on transferability between the sub-models of each ensemble: heatmaps, and their numbers with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import pandas as pd

from robustbench_ens.analysis.health import marked
from robustbench_ens.config.kinds import TRANSFER
from robustbench_ens.core.text import anchor, counted, listing, slug, span
from robustbench_ens.reporting.collect import Collection
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, FigureBlock, Figures, Paragraph, Section, Table, figure_block
from robustbench_ens.reporting.figures.transfer_heatmap import Panel, panels, transfer_heatmap
from robustbench_ens.reporting.filters import facts_of
from robustbench_ens.reporting.sections.accuracy import missing_blocks, shown
from robustbench_ens.reporting.sections.comparison import in_order
from robustbench_ens.reporting.tables.transfer import RATE, transfer_table

WIDTH = 1180.0
"""The width of heatmaps side by side on a wide page, in pixels."""


def transfer_sections(context: Context) -> list[Section]:
    """Return the sections of kinds that yield transfer rates. Kinds that are not expected need to have been run."""
    collection = context.collection
    return [transfer_section(collection, kind) for kind in shown(collection, TRANSFER)]


def transfer_section(collection: Collection, kind: str) -> Section:
    """Return the section with the heatmaps of every protocol and eps, and one table per protocol."""
    facts = collection.kinds[kind]
    blocks: list[Block] = [Paragraph(facts.meaning or "")]
    rates = collection.transferability[collection.transferability["kind"] == kind]
    ordered = in_order(collection)
    for number, (protocol, rows) in enumerate(rates.groupby("protocol", observed=True), start=1):
        names = ordered[str(rows["dataset"].iloc[0])]
        for eps, own in rows.groupby("eps"):
            found = panels(own, names)
            if found:
                name = f"{anchor(kind)}-{number}-eps-{slug(f'{eps:g}')}"
                title = f"{protocol} at eps {eps:g}"
                blocks.append(Figures([heatmaps(name, found, own, title)], transfer_caption(own, names)))
        caption = f"{protocol}: the numbers of the heatmaps, each with its n and Wilson 95% interval."
        table = marked(transfer_table(rows), collection.unhealthy(str(protocol)), [RATE])
        chosen = collection.chosen_here({str(protocol)}, set(table["Ensemble"]))
        blocks.append(Table(table, caption, group="Ensemble", collapsed=True, facts=facts_of(rows), chosen=chosen))
    return Section(facts.title, anchor(kind), blocks + missing_blocks(collection, kind))


def heatmaps(name: str, found: list[Panel], rows: pd.DataFrame, title: str) -> FigureBlock:
    """Return the heatmaps of several ensembles in one figure.

    Args:
        name: the name of the figure.
        found: see :func:`~robustbench_ens.reporting.figures.transfer_heatmap.panels`.
        rows: the rates that it shows.
        title: the title above the figure, also in the text for readers who cannot see it.
    """
    alt = f"{title}: the share of attacks on one sub-model that beat another, for {listing([p.name for p in found])}."
    draw = partial(transfer_heatmap, found, title)
    return figure_block(name, draw, alt, WIDTH, facts_of(rows))


def transfer_caption(rows: pd.DataFrame, names: Mapping[str, str]) -> str:
    """Return the caption of heatmaps: images, seeds, and ensembles without a pair of sub-models."""
    seeds = rows["seed"].nunique()
    means = f", means over {counted(seeds, 'seed')}" if seeds > 1 else ""
    single = sorted(names[label] for label in set(rows.loc[rows["sub_models"] < 2, "ensemble"]))
    alone = f" {listing(single)} {'has' if len(single) == 1 else 'have'} one sub-model." if single else ""
    return f"n = {span(rows['n'])} images that every sub-model classifies correctly{means}.{alone}"
