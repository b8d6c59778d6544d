"""Accuracy by the number of attack steps, ours beside the paper's: Table 8 of DVERGE."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.analysis.health import marked
from robustbench_ens.config.kinds import KINDS
from robustbench_ens.core.text import percent, points
from robustbench_ens.reporting.document import Block
from robustbench_ens.reporting.dverge2020.reference import PAPER, PAPER_BLACKBOX
from robustbench_ens.reporting.papers.part import Part, Shown, below
from robustbench_ens.reporting.tables.convergence import CHANGE, SUBJECT, convergence_table, largest_change


def with_paper_convergence(table: pd.DataFrame, sizes: set[tuple[str, int]], reference: pd.DataFrame) -> pd.DataFrame:
    """Ours, then the paper's accuracies of the same methods and sizes.

    Args:
        table: as ``tables.convergence`` gives it.
        sizes: methods, in the paper's words, and numbers of sub-models that are ours.
        reference: the paper's Table 8, of one kind of attack.
    """
    rows = []
    for (method, size, eps), own in reference.groupby(["method", "sub_models", "eps"], sort=False):
        if (method, size) in sizes:
            own = own.sort_values("steps")
            cells = {
                f"{steps:,} steps": percent(p / 100)
                for steps, p in zip(own["steps"], own["accuracy_percent"], strict=True)
            }
            name = PAPER_BLACKBOX if own["attack"].iloc[0] == "blackbox" else PAPER
            change = points(largest_change(own["accuracy_percent"] / 100))
            rows.append({"Ensemble": f"{method}/{size}, {name}", "eps": f"{eps:g}", **cells, CHANGE: change})
    return below(table, rows)


def show_convergence(part: Part) -> Shown:
    """Show one table per protocol of the kinds that the paper has."""
    rates = part.own(part.collection.convergence)
    blocks: list[Block] = []
    for (kind, protocol), own in rates.groupby(["kind", "protocol"], observed=True):
        if kind not in KINDS:
            continue
        table = convergence_table(own)
        numbers = [str(column) for column in table if column not in SUBJECT]
        table = marked(table, part.collection.unhealthy(str(protocol)), numbers)
        ours = part.subjects[part.subjects["ensemble"].isin(own["ensemble"])]
        sizes = set(zip(ours["method"], ours["sub_models"], strict=True))
        printed = part.reference("table8_convergence")
        printed = printed[printed["attack"] == str(kind).removesuffix("-convergence")]
        table = with_paper_convergence(table, sizes, printed)
        blocks.append(part.table(table, f"Table 8: accuracy by the number of attack steps, {protocol}"))
    return Shown(blocks, frozenset({"Table 8"} if blocks else ()))
