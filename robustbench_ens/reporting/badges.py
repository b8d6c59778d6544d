"""The badges below the verdict: health of the attacks, warnings, changes and cost, with their lists on demand."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from robustbench_ens.analysis.health import health_warnings
from robustbench_ens.core.text import counted
from robustbench_ens.reporting.board import BoardRow
from robustbench_ens.reporting.collect import Collection, each_trained_once
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
        collection: what the report is made of.
        rows: the leaderboard.
        warnings: what to be careful about, beside the health of the attacks.
        close: which neighbours of the leaderboard are tied.
        changed: what changed since the last report; None if there was none.
    """
    found = [health_badge(collection.health), warnings_badge(warnings)]
    if close:
        found.append(Badge("close ranks", "plain", list(close)))
    if changed is not None:
        found.append(changed_badge(changed))
    found.append(cost_badge(collection, rows))
    return Badges(found)


def health_badge(health: pd.DataFrame) -> Badge:
    """Return how many attacks were healthy; one is an attack with a loss, against one training run."""
    if health.empty:
        return Badge("health of attacks not measured")
    healthy = health.assign(healthy=health["healthy"].astype(bool)).groupby(_ATTACK, observed=True)["healthy"].all()
    ill = int((~healthy).sum())
    if not ill:
        return Badge(f"all {len(healthy):,} attacks healthy", "ok")
    intro = "Accuracy under an unhealthy attack may be too high."
    return Badge(f"{ill:,} of {len(healthy):,} attacks unhealthy", "warn", health_warnings(health), intro)


def warnings_badge(warnings: Sequence[str]) -> Badge:
    """Return how many warnings there are, with their texts."""
    if not warnings:
        return Badge("no warnings", "ok")
    return Badge(counted(len(warnings), "warning"), "warn", list(warnings))


def changed_badge(changed: Sequence[str]) -> Badge:
    """Return how many numbers changed since the last report."""
    if not changed:
        return Badge("unchanged since the last report")
    return Badge(f"changed since the last report: {len(changed)}", "plain", list(changed))


def cost_badge(collection: Collection, rows: Sequence[BoardRow]) -> Badge:
    """Return what all training runs cost together, with the cost of each ensemble."""
    once = each_trained_once(collection.provenance)
    targets = [document["target"] for document, counts in zip(collection.provenance, once, strict=True) if counts]
    total: Cost = total_cost(targets)
    intro = "Training, mean over seeds, with the ensemble it was started from. A CPU-hour is one thread for an hour."
    return Badge(f"training cost {total}", "plain", [f"{row.ensemble}: {row.cost}" for row in rows], intro)
