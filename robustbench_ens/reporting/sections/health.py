"""The section on the health of the attacks."""

from __future__ import annotations

from robustbench_ens.analysis.health import health_table
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, Paragraph, Section, Table

TEXT = (
    "Signs that an attack was weaker than it looks: the shares of images whose gradient is zero or not finite (at the "
    "worst step), whose loss rose, whose loss was saturated at the last step (exactly 0, or not finite), whose budget "
    "was used, and that a later restart merely repeated; and the accuracy that twice as many steps would have removed "
    "(for black-box attacks: of the surrogate). If a sign exceeds its protocol's limit, numbers that rest on the "
    "attack are marked with ⚠ in every table except the paper's."
)


def health_sections(context: Context) -> list[Section]:
    """Return the section with the worst value of each sign per protocol, ensemble and attack."""
    collection = context.collection
    blocks: list[Block] = [Paragraph(TEXT)]
    if collection.health.empty:
        blocks.append(
            Paragraph("No health was recorded: the outcomes are of an early version, or nothing was crafted.")
        )
    else:
        caption = "The worst value over eps, sources and seeds; shares of images."
        blocks.append(Table(health_table(collection.health), caption, group="Protocol", collapsed=True))
    return [Section("Attack health", "health", blocks)]
