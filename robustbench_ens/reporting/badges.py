"""The badges below the verdict: health of the attacks, warnings, changes and cost. Their lists are shown on demand."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from robustbench_ens.analysis.health import health_warnings
from robustbench_ens.core.text import counted
from robustbench_ens.reporting.board import BoardRow
from robustbench_ens.reporting.collect import Collection, one_row_per_training
from robustbench_ens.reporting.cost import Cost, total_cost
from robustbench_ens.reporting.document import Badge, Badges

_ATTACK = ["protocol", "ensemble", "seed", "attack", "loss"]


def badges(
    collection: Collection,
    rows: Sequence[BoardRow],
    warnings: Sequence[str],
    close: Sequence[str],
    changed: Sequence[str] | None,
) -> Badges:
    """Return the badges of a report.

    Args:
        collection: the input of the report.
        rows: the leaderboard.
        warnings: the warnings, apart from those about the health of the attacks.
        close: sentences on neighbours of the leaderboard that are tied.
        changed: the changes since the last report, or None if there was no such report.
    """
    found = [health_badge(collection.health), warnings_badge(warnings)]
    if close:
        found.append(Badge("close ranks", "plain", list(close)))
    if changed is not None:
        found.append(changed_badge(changed))
    found.append(cost_badge(collection, rows))
    return Badges(found)


def health_badge(health: pd.DataFrame) -> Badge:
    """Return the badge with the number of healthy attacks.

    An attack counts once for each protocol, loss and training run.
    """
    if health.empty:
        return Badge("health of attacks not measured")
    healthy = health.assign(healthy=health["healthy"].astype(bool)).groupby(_ATTACK, observed=True)["healthy"].all()
    count = int((~healthy).sum())
    if not count:
        return Badge(f"all {len(healthy):,} attacks healthy", "ok")
    intro = "Accuracy under an unhealthy attack may be too high."
    return Badge(f"{count:,} of {len(healthy):,} attacks unhealthy", "warn", health_warnings(health), intro)


def warnings_badge(warnings: Sequence[str]) -> Badge:
    """Return the badge with the number of warnings and their texts."""
    if not warnings:
        return Badge("no warnings", "ok")
    return Badge(counted(len(warnings), "warning"), "warn", list(warnings))


def changed_badge(changed: Sequence[str]) -> Badge:
    """Return the badge with the number of changes since the last report and their texts."""
    if not changed:
        return Badge("unchanged since the last report")
    return Badge(f"changed since the last report: {len(changed)}", "plain", list(changed))


def cost_badge(collection: Collection, rows: Sequence[BoardRow]) -> Badge:
    """Return the badge with the cost of all training runs together and of each ensemble."""
    once = one_row_per_training(collection.provenance)
    targets = [document["target"] for document, counts in zip(collection.provenance, once, strict=True) if counts]
    total: Cost = total_cost(targets)
    intro = "Training with the ensemble it was started from, mean over seeds. A CPU-hour is one thread for one hour."
    return Badge(f"training cost {total}", "plain", [f"{row.ensemble}: {row.cost}" for row in rows], intro)
