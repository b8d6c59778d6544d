"""The section: what the paper shows, from our outcomes, and what would make the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Block, Listing, Paragraph, Section, Table
from robustbench_ens.reporting.dverge2020.ablation import show_layers, show_training_eps
from robustbench_ens.reporting.dverge2020.accuracy import show_accuracy
from robustbench_ens.reporting.dverge2020.commands import SHOWN, commands
from robustbench_ens.reporting.dverge2020.convergence import show_convergence
from robustbench_ens.reporting.dverge2020.differences import show_differences
from robustbench_ens.reporting.dverge2020.measured import show_measured
from robustbench_ens.reporting.dverge2020.monitored import show_monitored
from robustbench_ens.reporting.dverge2020.orderings import show_orderings
from robustbench_ens.reporting.dverge2020.scratch import show_scratch
from robustbench_ens.reporting.dverge2020.subjects import DVERGE
from robustbench_ens.reporting.dverge2020.time import show_time
from robustbench_ens.reporting.dverge2020.transfer import show_transfer
from robustbench_ens.reporting.papers.part import Part, Shown, parts_of

MEANING = (
    "The paper's tables and figures, made from these outcomes. Rows named “DVERGE paper” hold its printed numbers (200 "
    "epochs, no intervals; Tables 4 and 5 are means of three runs). All other rows are ours, with their own schedules "
    "and images: the two need not agree."
)
OURS_ONLY = "The paper's tables and figures, made from these outcomes. It has no numbers on this data."

TOPICS: tuple[Callable[[Part], Shown], ...] = (
    show_differences,
    show_orderings,
    show_monitored,
    show_transfer,
    show_accuracy,
    show_training_eps,
    show_layers,
    show_time,
    show_scratch,
    show_measured,
    show_convergence,
)
"""What the section shows of each dataset, in order."""


def sections(context: Context) -> list[Section]:
    """Return the section, or none if no dataset has outcomes for it and nothing that ships would make them."""
    parts = parts_of(context, DVERGE)
    blocks: list[Block] = []
    lines: list[str] = []
    for part in parts:
        found = [show(part) for show in TOPICS]
        blocks += [block for shown in found for block in shown.blocks]
        lines += _missing(part.dataset, frozenset().union(*(shown.keys for shown in found)))
    if not blocks and not lines:
        return []
    intro = MEANING if any(part.beside for part in parts) else OURS_ONLY
    rest: list[Block] = [Listing("\n".join(lines), "What the paper shows and these outcomes lack, and how to make it")]
    return [Section("Beside the DVERGE paper", "paper", [Paragraph(intro), *blocks, *(rest if lines else [])])]


def tables(context: Context) -> list[tuple[str, Table]]:
    """Return the paper's tables with our numbers, each with the dataset it is about; also where it has none itself."""
    found = []
    for part in parts_of(context, DVERGE):
        blocks = [block for show in TOPICS for block in show(replace(part, every_table=True)).blocks]
        found += [(part.dataset, block) for block in blocks if isinstance(block, Table)]
    return found


def _missing(dataset: str, shown: frozenset[str]) -> list[str]:
    """The shell lines that make what is not ``shown`` yet, each group below its heading."""
    lines: list[str] = []
    for key in SHOWN:
        wanted = [] if key in shown else commands(dataset, key)
        lines += [f"# {key} ({dataset})", *wanted] if wanted else []
    return lines
