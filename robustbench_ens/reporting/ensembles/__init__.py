"""The pages of ensembles: their results, comparisons, training, provenance, and the commands to reproduce them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, Page, Section
from robustbench_ens.reporting.ensembles.lead import about, lead_blocks
from robustbench_ens.reporting.ensembles.made import command_blocks, health_blocks, made_blocks, provenance_blocks
from robustbench_ens.reporting.ensembles.one import One
from robustbench_ens.reporting.ensembles.pictures import curve_blocks, transfer_blocks
from robustbench_ens.reporting.ensembles.results import (
    comparison_blocks,
    rate_blocks,
    variant_blocks,
)
from robustbench_ens.reporting.sections.gallery import gallery_blocks_of
from robustbench_ens.reporting.sections.regions import regions_blocks_of

SECTIONS: tuple[tuple[str, str, Callable[[One], list[Block]]], ...] = (
    ("", "lead", lead_blocks),
    ("Accuracy against eps", "curves", curve_blocks),
    ("Transferability", "transferability", transfer_blocks),
    ("Against the others", "comparison", comparison_blocks),
    ("Which variants decide", "variants", variant_blocks),
    ("Decision regions", "regions", lambda one: regions_blocks_of(one.context, one.label)),
    ("Gallery of adversarial examples", "gallery", lambda one: gallery_blocks_of(one.context, one.label)),
    ("Training", "training", made_blocks),
    ("Accuracy by protocol and seed", "numbers", rate_blocks),
    ("Attack health", "health", health_blocks),
    ("Provenance", "provenance", provenance_blocks),
    ("Commands to reproduce it", "commands", command_blocks),
)
"""Title, anchor and content of the sections of a page, in order. Sections without content are omitted."""


def ensemble_pages(context: Context, paths: Mapping[str, str]) -> list[Page]:
    """Return a page for each ensemble that was attacked, in the order of the leaderboard.

    Args:
        context: the input of all sections.
        paths: the paths of the pages, by the label of the ensemble.
    """
    rows = {row.ensemble: row for row in context.board}
    order = [*rows, *(label for label in paths if label not in rows)]
    return [_page(One(context, label, paths, rows.get(label), len(rows))) for label in order]


def _page(one: One) -> Page:
    found = [Section(title, anchor, make(one)) for title, anchor, make in SECTIONS]
    return Page(one.path, one.label, about(one), [section for section in found if section.blocks])
