"""The leaderboard as a table of text, with one row per ensemble, at the standard eps."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from robustbench_ens.config.kinds import Kinds
from robustbench_ens.reporting.board import BoardRow, Rate, board
from robustbench_ens.reporting.collect import Collection
from robustbench_ens.reporting.tables.summary import NOT_RUN


def columns(kinds: Kinds) -> list[str]:
    """Return the names of the columns. Each kind with a column shows its strongest protocol."""
    attacks = (facts.title for facts in kinds.values() if facts.leaderboard)
    return [
        *("Ensemble", "Worst case", "Set by", *attacks, "Clean", "Transfer"),
        *("Cost", "Parameters", "Health", "eps", "n", "Seeds"),
    ]


def leaderboard(collection: Collection) -> pd.DataFrame:
    """Return the leaderboard of ``collection`` as a table."""
    return leaderboard_of(board(collection), collection.kinds)


def leaderboard_of(rows: Sequence[BoardRow], kinds: Kinds) -> pd.DataFrame:
    """Return one row per ensemble, in the order of ``rows``, with the columns of :func:`columns`, as text."""
    return pd.DataFrame([_row(row, kinds) for row in rows], columns=columns(kinds), dtype=str)


def _row(row: BoardRow, kinds: Kinds) -> dict[str, str]:
    return {
        "Ensemble": row.ensemble,
        "Worst case": _text(row.worst),
        "Set by": ", ".join(protocol.removeprefix(f"{row.dataset}/") for protocol in row.set_by) or NOT_RUN,
        **{kinds[kind].title: _text(rate) for kind, rate in row.attacks.items()},
        "Clean": _text(row.clean),
        "Transfer": row.transfer if isinstance(row.transfer, str) else row.transfer.text,
        "Cost": str(row.cost),
        "Parameters": f"{row.parameters:,}",
        "Health": _health(row),
        "eps": str(row.eps) if row.eps else "",
        "n": row.n,
        "Seeds": str(row.seeds),
    }


def _text(rate: Rate | str | None) -> str:
    if rate is None:
        return NOT_RUN
    return rate if isinstance(rate, str) else rate.marked


def _health(row: BoardRow) -> str:
    if row.unhealthy:
        return f"⚠ {', '.join(row.unhealthy)}"
    return "healthy" if row.health_known else "not measured"
