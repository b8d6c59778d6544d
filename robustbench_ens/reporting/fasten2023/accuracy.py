"""Accuracy under AutoAttack and under black-box transfer, ours above the FASTEN paper's."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from robustbench_ens.reporting.fasten2023.subjects import BLACKBOX_EPS, METHODS, SOURCE
from robustbench_ens.reporting.papers.accuracy import paper_accuracy
from robustbench_ens.reporting.papers.part import Part, Shown, has_ours

AUTOATTACK = "Accuracy under AutoAttack, ours above the FASTEN paper's"
BLACKBOX = (
    f"Accuracy under black-box transfer from hold-out baselines at eps {BLACKBOX_EPS:g}, ours above the FASTEN "
    "paper's, which was read off a figure"
)


def show_autoattack(part: Part) -> Shown:
    """Show accuracy under AutoAttack against eps."""
    return _shown(part, part.asked("autoattack"), "autoattack", AUTOATTACK)


def show_blackbox(part: Part) -> Shown:
    """Show black-box accuracy at the eps of the paper's figure."""
    rates = part.asked("blackbox")
    return _shown(part, rates[rates["eps"].isin([0.0, BLACKBOX_EPS])], "blackbox", BLACKBOX)


def _shown(part: Part, rates: pd.DataFrame, name: str, caption: str) -> Shown:
    """The table, if the paper's numbers belong here or every table is wanted, and something of ours was attacked."""
    attacked = rates[rates["eps"] > 0]
    if not (part.beside or part.every_table) or not has_ours(attacked, part.subjects):
        return Shown()
    own = rates[rates["ensemble"].isin(attacked["ensemble"])]
    table = paper_accuracy(own, part.subjects, part.reference(name), SOURCE, also=list(METHODS.values()))
    return Shown([replace(part.table(table, caption), collapsed=False, stacked=True)])
