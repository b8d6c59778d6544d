"""What the attacks said about themselves."""

from __future__ import annotations

from robustbench_ens.analysis.health import health_table
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, Paragraph, Section, Table

TEXT = (
    "Signs that an attack was weaker than it looks: the share of images whose gradient is zero or not finite (at the "
    "worst step), whose loss rose, whose loss was saturated at the last step (exactly 0, or not finite), whose budget "
    "was used, that a later restart merely repeated, and the accuracy that twice the steps would still have taken (of "
    "black-box attacks: from the surrogate). Where a sign passes its protocol's limit, numbers that rest on the attack "
    "are marked with ⚠ in every table but the paper's."
)


def health_sections(context: Context) -> list[Section]:
    """Return the section: the worst of each sign per protocol, ensemble and attack."""
    collection = context.collection
    blocks: list[Block] = [Paragraph(TEXT)]
    if collection.health.empty:
        blocks.append(Paragraph("These outcomes were made before health was measured, or by nothing that crafts."))
    else:
        caption = "The worst value over eps, sources and seeds; shares of images."
        blocks.append(Table(health_table(collection.health), caption, group="Protocol", collapsed=True))
    return [Section("Attack health", "health", blocks)]
