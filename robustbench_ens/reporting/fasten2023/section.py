"""The section: the FASTEN paper's numbers beside our outcomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, Paragraph, Section, Table
from robustbench_ens.reporting.fasten2023.accuracy import show_autoattack, show_blackbox
from robustbench_ens.reporting.fasten2023.cost import show_cost
from robustbench_ens.reporting.fasten2023.differences import show_differences
from robustbench_ens.reporting.fasten2023.orderings import show_orderings
from robustbench_ens.reporting.fasten2023.subjects import FASTEN, SUB_MODELS
from robustbench_ens.reporting.papers.part import Part, Shown, has_ours, parts_of

MEANING = (
    "The numbers that the FASTEN paper (IEEE TIFS, document 10329935) has of 3 x ResNet-20 on CIFAR-10, beside these "
    "outcomes. Rows named “FASTEN paper” hold its numbers (200 epochs, no intervals); those with “about” were read off "
    "a figure. All other rows are ours, with their own schedules and images: the two need not agree. Of AutoAttack, "
    "only protocols with all four attacks of the standard version count."
)
OURS_ONLY = "The FASTEN paper's orderings and training times, from these outcomes. It has no numbers on this data."

TOPICS: tuple[Callable[[Part], Shown], ...] = (
    show_differences,
    show_orderings,
    show_autoattack,
    show_blackbox,
    show_cost,
)
"""What the section shows of each dataset, in order."""


def sections(context: Context) -> list[Section]:
    """Return the section, or none if no dataset has outcomes for it."""
    parts = [part for part in parts_of(context, FASTEN) if concerned(part)]
    blocks = [block for part in parts for block in _blocks(part)]
    if not blocks:
        return []
    intro = MEANING if any(part.beside for part in parts) else OURS_ONLY
    return [Section("Beside the FASTEN paper", "fasten", [Paragraph(intro), *blocks])]


def tables(context: Context) -> list[tuple[str, Table]]:
    """Return the section's tables, each with the dataset it is about; also where the paper has no numbers."""
    parts = [replace(part, every_table=True) for part in parts_of(context, FASTEN) if concerned(part)]
    return [(part.dataset, block) for part in parts for block in _blocks(part) if isinstance(block, Table)]


def concerned(part: Part) -> bool:
    """Return whether a dataset has FASTEN, or AutoAttack on ensembles like those whose numbers the paper prints."""
    if (part.subjects["method"] == "FASTEN").any():
        return True
    alike = part.subjects[part.subjects["sub_models"] == SUB_MODELS]
    return part.beside and has_ours(part.asked("autoattack"), alike)


def _blocks(part: Part) -> list[Block]:
    return [block for show in TOPICS for block in show(part).blocks]
