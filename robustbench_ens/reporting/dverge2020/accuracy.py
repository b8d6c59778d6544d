"""Accuracy against eps by method and size, ours beside the paper's: Tables 4, 5 and 6 of DVERGE."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.core.text import percent
from robustbench_ens.reporting.document import Block
from robustbench_ens.reporting.dverge2020.part import Part, Shown, has_ours
from robustbench_ens.reporting.dverge2020.reference import PAPER, PAPER_BLACKBOX
from robustbench_ens.reporting.dverge2020.subjects import sample
from robustbench_ens.reporting.tables.summary import over_seeds

COLUMNS = ["Method", "Sub-models", "Source"]
CAPTIONS = {
    "4": ("Table 4: accuracy under black-box transfer from hold-out baselines", "table4_blackbox_baseline_surrogates"),
    "5": ("Table 5: accuracy under white-box attacks", "table5_whitebox"),
    "6": (
        "Table 6: accuracy under black-box transfer from ensembles of the same method",
        "table6_blackbox_same_defense_surrogates",
    ),
}
"""Caption and reference numbers of each of the paper's tables."""


def paper_accuracy(
    accuracies: pd.DataFrame, subjects: pd.DataFrame, reference: pd.DataFrame, paper: str
) -> pd.DataFrame:
    """Per method and size of ours: a row per ensemble and protocol, then the paper's.

    Args:
        accuracies: rows as ``derive.accuracies`` gives them, of the protocols that ask what the paper's table asks.
        subjects: as ``paper.subjects`` gives them; only these count.
        reference: the paper's ``method``, ``sub_models``, ``eps``, ``accuracy_percent``.
        paper: what its rows are called.

    Returns:
        the columns ``COLUMNS``, then one per eps, as text; ours with the Wilson 95% interval, or mean and standard
        deviation over seeds.
    """
    ours = accuracies.drop(columns=["dataset", "method", "sub_models"]).merge(subjects, on="ensemble")
    several = ours.groupby("ensemble")["protocol"].nunique().max() > 1 if len(ours) else False
    ladder = sorted({*ours["eps"], *reference["eps"]})
    rows = []
    for (_, method, size), same in ours.groupby(["place", "method", "sub_models"], observed=True):
        for (source, protocol), own in same.groupby(["source", "protocol"], observed=True):
            cells = {_heading(eps): over_seeds(cell, own) for eps, cell in own.groupby("eps")}
            named = f"{source}, {protocol}" if several else str(source)
            rows.append({"Method": method, "Sub-models": str(size), "Source": named + sample(own), **cells})
        printed = reference[(reference["method"] == method) & (reference["sub_models"] == size)]
        if len(printed):
            numbers = zip(printed["eps"], printed["accuracy_percent"], strict=True)
            cells = {_heading(eps): percent(number / 100) for eps, number in numbers}
            rows.append({"Method": method, "Sub-models": str(size), "Source": paper, **cells})
    return pd.DataFrame(rows, columns=[*COLUMNS, *map(_heading, ladder)], dtype=object).fillna("").astype(str)


def _heading(eps: object) -> str:
    return f"{eps:g}" if eps else "clean"


def show_accuracy(part: Part) -> Shown:
    """Show Tables 4, 5 and 6."""
    attacked = "Figures 4, 5, 9, 10; Tables 1, 4, 5" if len(part.asked("45")) else ""
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
