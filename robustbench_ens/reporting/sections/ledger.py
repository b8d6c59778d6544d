"""Which variants of the black-box attacks decide: a curve per protocol, and the ledger of every target on demand."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.core.text import percent, shorten, slug
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, Bullets, FigureBlock, Figures, Paragraph, Section, Table
from robustbench_ens.reporting.figures.greedy_curve import greedy_curve
from robustbench_ens.reporting.filters import facts_of
from robustbench_ens.reporting.tables.ledger import NEVER, ledger_table

MEANING = (
    "An image counts only if it survives every variant. Taken in the greedy order, each time the variant that breaks "
    "the most of the images that are left, some variants reach that all-or-nothing accuracy; the others never decide."
)
COLUMNS_MEANING = (
    "The tables: accuracy alone is over all images, with its Wilson 95% interval. Breaks: of the images whose clean "
    "version is right. Only it: images that no other variant breaks. Order, so far: the place in the greedy order, and "
    f"the accuracy that is left there; {NEVER}: all it breaks is broken without it. Same as: variants of one letter "
    "have the same prediction on every image."
)


def ledger_sections(context: Context) -> list[Section]:
    """Return the section, or none if no evaluation has variants to compare."""
    blocks: list[Block] = [Paragraph(MEANING)]
    for number, (protocol, rows) in enumerate(context.collection.ledger.groupby("protocol", observed=True), start=1):
        eps = rows["eps"].iloc[0]
        title = f"Variants of {protocol} at eps {eps:g}"
        alt = f"{title}: accuracy against the number of variants, one line per ensemble; the tables hold the numbers."
        name, drawn = f"variants-{number}-{slug(protocol)}", greedy_curve(rows, context.looks, title)
        figure = FigureBlock(name, drawn, alt, facts_of(rows))
        targets = list(rows.groupby(["ensemble", "seed"], observed=True))
        blocks.append(Figures([figure], _caption(rows)))
        blocks.append(
            Bullets([sentence(f"{shorten(ensemble, 64)} (seed {seed})", own) for (ensemble, seed), own in targets])
        )
        blocks += [_table(f"{protocol}, {ensemble} (seed {seed})", own) for (ensemble, seed), own in targets]
    if len(blocks) == 1:
        return []
    return [Section("Which variants decide", "variants", [*blocks, Paragraph(COLUMNS_MEANING)])]


def _caption(rows: pd.DataFrame) -> str:
    if rows["seed"].nunique() > 1:
        return "Lines: mean over seeds; bars: standard deviation."
    return "Each line falls to the all-or-nothing accuracy of its ensemble."


def sentence(name: str, own: pd.DataFrame) -> str:
    """Say how many variants of one target decide, and what they leave; ``own`` is its ledger."""
    deciding = own.dropna(subset="order").sort_values("order")
    if not len(deciding):
        return f"{name}: none of {len(own)} variants breaks an image."
    first, last = deciding.iloc[0], deciding["cumulative"].iloc[-1]
    worst = first["all_or_nothing"]
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


def _table(title: str, own: pd.DataFrame) -> Table:
    n, right = int(own["n"].iloc[0]), round(own["n_clean"].iloc[0], 1)
    caption = (
        f"{title}, eps {own['eps'].iloc[0]:g}: {len(own)} variants on {n} images, of which {right} are right when clean"
    )
    numeric = ("Breaks", "Only it", "So far")
    return Table(ledger_table(own), caption, numeric=numeric, collapsed=True, facts=facts_of(own))
