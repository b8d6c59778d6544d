"""The leaderboard as rows of a tidy table: one per ensemble and quantity."""

from __future__ import annotations

from typing import Any

import pandas as pd

from robustbench_ens.reporting.board import Rate, board
from robustbench_ens.reporting.collect import Collection

COLUMNS = [
    *("dataset", "place", "ensemble", "method", "sub_models", "eps", "quantity", "protocols", "n", "seeds"),
    *("mean", "std", "low", "high", "unhealthy", "set_by"),
]


def leaderboard_rows(collection: Collection) -> pd.DataFrame:
    """Return one row per number of the leaderboard, with the columns ``COLUMNS``."""
    rows = []
    for row in board(collection):
        rates: dict[str, Rate | str | None] = {
            "worst_case": row.worst,
            **row.attacks,
            "clean": row.clean,
            "transfer": row.transfer,
        }
        about = {name: getattr(row, name) for name in ("dataset", "place", "ensemble", "method", "sub_models")}
        for quantity, rate in rates.items():
            if isinstance(rate, Rate):
                eps = 0.0 if quantity == "clean" else row.eps.eps if row.eps else None
                set_by = row.set_by if quantity == "worst_case" else None
                rows.append({**about, "quantity": quantity, "eps": eps, "set_by": set_by, **_numbers(rate)})
    return pd.DataFrame(rows, columns=COLUMNS, dtype=object)


def _numbers(rate: Rate) -> dict[str, Any]:
    """Return the columns of a rate. Several seeds have a standard deviation, and a single one has an interval."""
    alone = rate.std is None
    return {
        "protocols": rate.protocols,
        "n": rate.n,
        "seeds": rate.seeds,
        "mean": rate.value,
        "std": rate.std,
        "low": rate.low if alone else None,
        "high": rate.high if alone else None,
        "unhealthy": not rate.healthy,
    }
