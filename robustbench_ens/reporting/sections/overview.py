"""The top of the report: one row per ensemble, warnings, and what the numbers say."""

from __future__ import annotations

from robustbench_ens.reporting.collect import Collection
from robustbench_ens.reporting.document import Block, Bullets, Paragraph, Section, Table
from robustbench_ens.reporting.findings import RULE, findings, warnings
from robustbench_ens.reporting.tables.summary import summarise

CAPTION = (
    "Accuracy over all n test images at one eps (l-infinity, pixel scale): clean; after the strongest of the white-box "
    "attempts, on the ensemble's own gradient; after the strongest of the black-box attempts, crafted on hold-out "
    "surrogates. In brackets the Wilson 95% interval. Transferability: share of attacks on one sub-model that also "
    "beat another, mean over pairs (lowest to highest pair; n images that every "
    "sub-model gets right); lower is better. Several seeds: mean ± standard deviation."
)


def overview(collection: Collection) -> list[Section]:
    """Summary and findings."""
    table = summarise(collection.accuracies, collection.transferability)
    blocks: list[Block] = []
    odd = warnings(collection.accuracies)
    if odd:
        blocks.append(Bullets(odd, warning=True))
    blocks.append(Table(table, CAPTION, stacked=True))
    said = findings(collection.accuracies, collection.transferability)
    text: list[Block] = [Bullets(said), Paragraph(RULE)] if said else [Paragraph("There is nothing to compare yet.")]
    return [Section("Summary", "summary", blocks), Section("What the numbers say", "findings", text)]
