"""Diversity and distillation, ours beside the paper's: Equation 2 and Table 2 of DVERGE."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.reporting.document import Block
from robustbench_ens.reporting.dverge2020.reference import PAPER
from robustbench_ens.reporting.papers.part import Part, Shown, below
from robustbench_ens.reporting.tables.distillation import distillation_table
from robustbench_ens.reporting.tables.diversity import diversity_table


def with_paper_distillation(table: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Ours, then the paper's two sub-models that were trained in the standard way.

    Args:
        table: as ``tables.distillation`` gives it.
        reference: the paper's Table 2.
    """
    rows = [
        {
            "Ensemble": f"two baselines, {PAPER}",
            "eps": f"{row['train_eps']:g}",
            "#steps": f"{row['steps']:g}",
            "Feature distance, l2": f"{row['feature_distance_l2']:.3f}",
            "Diversity loss, nats": f"{row['diversity_loss']:.3f}",
        }
        for row in reference.to_dict("records")
    ]
    return below(table, rows)


def show_measured(part: Part) -> Shown:
    """Show what was measured of diversity (Equation 2) and of distillation (Table 2)."""
    rows = part.own(part.collection.measurements)
    blocks: list[Block] = []
    keys: set[str] = set()
    for (kind, protocol), own in rows.groupby(["kind", "protocol"], observed=True):
        if kind == "diversity":
            blocks.append(part.table(diversity_table(own), f"Diversity between sub-models, Equation 2, {protocol}"))
        elif kind == "distillation":
            keys.add("Table 2")
            table = distillation_table(own)
            if part.beside:
                table = with_paper_distillation(table, part.reference("table2_distillation"))
            caption = f"Table 2: distances after distillation and the diversity loss, {protocol}"
            blocks.append(part.table(table, caption))
    return Shown(blocks, frozenset(keys))
