"""The section on the budget of attacks: passes through the attacked model, and the accuracy that they left."""

from __future__ import annotations

from robustbench_ens.core.text import slug
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, Figures, Paragraph, Section, Table, figure_block
from robustbench_ens.reporting.figures.budget_curve import budget_curve
from robustbench_ens.reporting.figures.curves import HALF
from robustbench_ens.reporting.filters import facts_of
from robustbench_ens.reporting.tables.budget import MOST_ROWS, budget_table

TEXT = (
    "A forward pass shows an image to the whole model that is attacked (one of M sub-models counts 1/M), a backward "
    "pass takes its gradient. Counts are of the attempts alone, in the protocol's order and without the checks of "
    "health, divided by all images: an attempt after others attacks only the images that are left. Black-box attempts "
    "spend them on the surrogate."
)


def budget_sections(context: Context) -> list[Section]:
    """Return the section, or none if no evaluation has counted its passes."""
    budget = context.collection.budget
    if budget.empty:
        return []
    figures = []
    for number, (protocol, rows) in enumerate(budget.groupby("protocol", observed=True), start=1):
        title = f"Budget of {protocol} at eps {rows['eps'].iloc[0]:g}"
        alt = f"{title}: accuracy against passes per image, one line per ensemble. The table has both ends."
        draw = budget_curve(rows, context.looks, title)
        figures.append(figure_block(f"budget-{number}-{slug(str(protocol))}", draw, alt, HALF, facts_of(rows)))
    pairs = len(budget[["protocol", "ensemble"]].drop_duplicates())
    table = budget_table(budget)
    most = f"; the {MOST_ROWS} costliest of {pairs}" if pairs > MOST_ROWS else ""
    caption = f"Passes per image of all attempts, and the accuracy after the first and after all{most}."
    numeric = ("Attempts", "Forward", "Backward", "First attempt left", "All left")
    blocks: list[Block] = [Paragraph(TEXT), Figures(figures, "A point per attempt.")]
    blocks.append(Table(table, caption, group="Protocol", numeric=numeric, collapsed=True))
    return [Section("Accuracy against budget", "budget", blocks)]
