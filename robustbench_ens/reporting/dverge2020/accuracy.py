"""Accuracy against eps by method and size, ours beside the paper's: Tables 4, 5 and 6 of DVERGE."""

from __future__ import annotations

from robustbench_ens.reporting.document import Block
from robustbench_ens.reporting.dverge2020.reference import PAPER, PAPER_BLACKBOX
from robustbench_ens.reporting.papers.accuracy import paper_accuracy
from robustbench_ens.reporting.papers.part import Part, Shown, has_ours

CAPTIONS = {
    "4": ("Table 4: accuracy under black-box transfer from hold-out baselines", "table4_blackbox_baseline_surrogates"),
    "5": ("Table 5: accuracy under white-box attacks", "table5_whitebox"),
    "6": (
        "Table 6: accuracy under black-box transfer from ensembles of the same method",
        "table6_blackbox_same_defense_surrogates",
    ),
}
"""Caption and reference numbers of each of the paper's tables."""


def show_accuracy(part: Part) -> Shown:
    """Show Tables 4, 5 and 6."""
    attacked = "Figures 4, 5, 9, 10; Tables 1, 4, 5" if len(part.asked("4", "5")) else ""
    same_defense = "Table 6" if len(part.asked("6")) else ""
    keys = frozenset({attacked, same_defense} - {""})
    if not (part.beside or part.every_table):
        return Shown(keys=keys)
    blocks: list[Block] = []
    standard = part.subjects[part.subjects["standard"]]
    for number, (caption, name) in CAPTIONS.items():
        rates = part.asked(number)
        if has_ours(rates, standard):
            called = PAPER if number == "5" else PAPER_BLACKBOX
            blocks.append(part.table(paper_accuracy(rates, standard, part.reference(name), called), caption))
    return Shown(blocks, keys)
