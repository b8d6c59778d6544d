"""Sections on the variants that decide: heatmap and curve per protocol, and the ledger of every target."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from robustbench_ens.core.text import percent, shorten, slug, span
from robustbench_ens.reporting.collect import Collection
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, FigureBlock, Figures, Paragraph, Section, Table, figure_block
from robustbench_ens.reporting.figures.curves import WIDTH
from robustbench_ens.reporting.figures.greedy_curve import greedy_curve
from robustbench_ens.reporting.figures.variant_heatmap import variant_heatmap
from robustbench_ens.reporting.filters import facts_of
from robustbench_ens.reporting.sections.comparison import in_order
from robustbench_ens.reporting.tables.ledger import NEVER, deciding_table, ledger_table

TITLE = "Which variants decide"
MEANING = (
    "An image counts only if it survives every variant. In the greedy order, each variant is the one that breaks the "
    "most of the images that are left. The variants that reach the all-or-nothing accuracy in this order decide; the "
    "others never decide."
)
COLUMNS_MEANING = (
    "In the tables, accuracy alone is over all images, with its Wilson 95% interval. Breaks: of the images that are "
    "right when clean. Only it: images that no other variant breaks. Order, so far: the place in the greedy order, and "
    f"the accuracy that is left there. {NEVER}: earlier variants break all images that it breaks. Same as: variants "
    "with the same letter have the same prediction on every image."
)
_HEATMAP = 1180.0  # pixels on a wide page
_OPEN = 12  # the most rows in a table that is always shown


def ledger_sections(context: Context) -> list[Section]:
    """Return a section for each protocol with several variants, so that no page grows with the number of protocols."""
    ledger = context.collection.ledger
    anchors = ledger_anchors(context.collection)
    sections = []
    for number, (protocol, rows) in enumerate(ledger.groupby("protocol", observed=True), start=1):
        heading = TITLE if len(anchors) == 1 else f"{TITLE}: {protocol}"
        sections.append(Section(heading, anchors[str(protocol)], _blocks(context, f"{number}-{slug(protocol)}", rows)))
    return sections


def ledger_anchors(collection: Collection) -> dict[str, str]:
    """Return the anchor of the section of each protocol with several variants."""
    protocols = sorted(set(collection.ledger["protocol"]))
    if len(protocols) == 1:
        return {protocols[0]: "variants"}
    return {protocol: f"variants-{number}-{slug(protocol)}" for number, protocol in enumerate(protocols, start=1)}


def _blocks(context: Context, name: str, rows: pd.DataFrame) -> list[Block]:
    protocol = rows["protocol"].iloc[0]
    title = f"{protocol} at eps {rows['eps'].iloc[0]:g}"
    targets = list(rows.groupby(["ensemble", "seed"], observed=True))
    names = in_order(context.collection)[str(rows["dataset"].iloc[0])]
    alt = f"{title}: accuracy against the number of variants, one line per ensemble. The tables have the numbers."
    draw = greedy_curve(rows, context.looks, title)
    caption = f"{title}: the number of variants that decide, the strongest, and the accuracy after it and after all."
    return [
        Paragraph(MEANING),
        Figures([heatmap(f"variants-{name}", rows, names, title)], f"{title}, n = {span(rows['n'])}."),
        Figures([figure_block(f"greedy-{name}", draw, alt, WIDTH, facts_of(rows))], _caption(rows)),
        Table(deciding_table(rows), caption, group="Ensemble", collapsed=len(targets) > _OPEN, facts=facts_of(rows)),
        *(ledger_of(f"{protocol}, {ensemble} (seed {seed})", own) for (ensemble, seed), own in targets),
        Paragraph(COLUMNS_MEANING),
    ]


def heatmap(
    name: str, rows: pd.DataFrame, names: Mapping[str, str], title: str, pages: Mapping[str, str] | None = None
) -> FigureBlock:
    """Return the heatmap of variants under one protocol.

    Args:
        name: the name of the figure.
        rows: rows of the ledger.
        names: the short name of each ensemble, in order.
        title: the beginning of the text for readers who cannot see the figure.
        pages: the page of each ensemble that has one.
    """
    alt = f"{title}: the share of images that each variant breaks, a row per ensemble. The tables have the numbers."
    return figure_block(name, variant_heatmap(rows, names, pages), alt, _HEATMAP, facts_of(rows))


def _caption(rows: pd.DataFrame) -> str:
    if rows["seed"].nunique() > 1:
        return "Lines: mean over seeds; bars: standard deviation."
    return "Each line falls to the all-or-nothing accuracy of its ensemble."


def sentence(name: str, own: pd.DataFrame) -> str:
    """Return a sentence on the variants of one target that decide and the accuracy that they leave.

    ``own`` is the ledger of the target.
    """
    deciding = own.dropna(subset="order").sort_values("order")
    if not len(deciding):
        return f"{name}: none of {len(own)} variants breaks an image."
    first = deciding.iloc[0]
    last = deciding["cumulative"].iloc[-1]
    worst = first["all_or_nothing"]
    # Images that are wrong when clean count for the all-or-nothing accuracy alone: some attack may make them right.
    reached = f"reach the all-or-nothing accuracy of {percent(last)}"
    if worst < last:
        reached = f"leave {percent(last)}, and with the clean images the all-or-nothing accuracy is {percent(worst)}"
    text = (
        f"{name}: {len(deciding)} of {len(own)} variants {reached}; "
        f"the strongest alone, {first['attack']} with {first['loss']} from {shorten(first['source'], 40)}, leaves "
        f"{percent(first['accuracy'])}."
    )
    copies = own[own["twins"] > 0]
    spare = len(copies) - copies["twins"].nunique()
    return text + (f" {spare} only repeat another, prediction by prediction." if spare else "")


def ledger_of(title: str, own: pd.DataFrame) -> Table:
    """Return the ledger of one target as a table, shown on demand."""
    n = int(own["n"].iloc[0])
    right = round(own["n_clean"].iloc[0], 1)
    caption = (
        f"{title}, eps {own['eps'].iloc[0]:g}: {len(own)} variants on {n} images, of which {right} are right when clean"
    )
    numeric = ("Breaks", "Only it", "So far")
    return Table(ledger_table(own), caption, numeric=numeric, collapsed=True, facts=facts_of(own))
