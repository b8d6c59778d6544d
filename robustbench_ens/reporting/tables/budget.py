"""What each protocol's attacks cost and left, as a table."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.core.text import percent

COLUMNS = ["Protocol", "Ensemble", "eps", "Attempts", "Forward", "Backward", "First attempt left", "All left"]
MOST_ROWS = 12


def budget_table(budget: pd.DataFrame) -> pd.DataFrame:
    """Return one row per protocol and ensemble, the costliest first, at most ``MOST_ROWS``; means over seeds.

    Args:
        budget: as :func:`~robustbench_ens.analysis.budget.collect_budget` gives it.

    Returns:
        the columns ``COLUMNS``, as text; ``Forward`` and ``Backward`` are passes per image of all attempts.
    """
    rows = []
    for (protocol, ensemble), own in budget.groupby(["protocol", "ensemble"], observed=True):
        seeds = own["seed"].nunique()
        forward, backward = own["forward"].sum() / seeds, own["backward"].sum() / seeds
        left = own.groupby("attempt")["accuracy"].mean()
        text = (
            *(str(protocol), str(ensemble), f"{own['eps'].iloc[0]:g}", str(len(left))),
            *(f"{forward:.1f}", f"{backward:.1f}", percent(left.iloc[0]), percent(left.iloc[-1])),
        )
        rows.append((forward + backward, text))
    rows.sort(key=lambda row: -row[0])
    return pd.DataFrame([text for _, text in rows[:MOST_ROWS]], columns=COLUMNS, dtype=str)
