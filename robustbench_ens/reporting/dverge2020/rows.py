"""The paper's rows for tables that we have anyway: Table 8 (convergence) and Table 2 (distillation) of DVERGE."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.core.text import percent, points
from robustbench_ens.reporting.dverge2020.paper import PAPER, PAPER_BLACKBOX
from robustbench_ens.reporting.tables.convergence import CHANGE, largest_change


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
    return _below(table, rows)


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
    return _below(table, rows)


def _below(table: pd.DataFrame, rows: list[dict[str, str]]) -> pd.DataFrame:
    added = pd.DataFrame(rows, columns=table.columns, dtype=object).fillna("")
    return pd.concat([table, added], ignore_index=True).astype(str) if rows else table
