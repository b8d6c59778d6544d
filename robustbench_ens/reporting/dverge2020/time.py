"""What training costs, ours beside the paper's: Table 1 of DVERGE."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from robustbench_ens.reporting.cost import training_costs
from robustbench_ens.reporting.dverge2020.reference import PAPER
from robustbench_ens.reporting.papers.part import Part, Shown

COLUMNS = ["Method", "Sub-models", "Source", "Cost", "Hardware"]
HARDWARE = "one NVIDIA TITAN Xp"
"""The paper's."""


def paper_time(
    subjects: pd.DataFrame, costs: Mapping[str, str], hardware: Mapping[str, str], reference: pd.DataFrame
) -> pd.DataFrame:
    """Per method and size of ours: a row per ensemble, then the paper's; each with what it was started from.

    Args:
        subjects: as ``subjects_of`` gives them.
        costs: by ensemble, as text.
        hardware: by ensemble.
        reference: the paper's ``method``, ``sub_models``, ``hours``.

    Returns:
        the columns ``COLUMNS``, as text.
    """
    rows = []
    for (_, method, size), same in subjects.groupby(["place", "method", "sub_models"], observed=True):
        for subject in same.sort_values("source").to_dict("records"):
            name = subject["ensemble"]
            rows.append((method, str(size), subject["source"], costs[name], hardware[name]))
        printed = reference[(reference["method"] == method) & (reference["sub_models"] == size)]
        rows += [(method, str(size), PAPER, f"{hours:g} GPU-h", HARDWARE) for hours in printed["hours"]]
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)


def show_time(part: Part) -> Shown:
    """Show Table 1."""
    own = part.subjects[part.subjects["standard"]]
    if not (part.beside or part.every_table) or own.empty:
        return Shown()
    sources = [source for document in part.collection.provenance for source in document["sources"]]
    costs = {name: str(cost) for name, cost in training_costs(part.targets, sources).items()}
    hardware = {t["label"]: t["training"]["hardware"] if t["training"] else "" for t in part.targets}
    table = paper_time(own, costs, hardware, part.reference("table1_training_hours_titan_xp"))
    return Shown([part.table(table, "Table 1: cost of training, with what it was started from")])
