"""A table of the passes that each protocol's attacks took and of the accuracy that they left."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.core.text import percent

COLUMNS = ["Protocol", "Ensemble", "eps", "Attempts", "Forward", "Backward", "First attempt left", "All left"]
MOST_ROWS = 12


def budget_table(budget: pd.DataFrame) -> pd.DataFrame:
    """Return one row per protocol and ensemble with means over seeds, the ``MOST_ROWS`` costliest in order of cost.

    Args:
        budget: the frame of :func:`~robustbench_ens.analysis.budget.collect_budget`.

    Returns:
        the columns ``COLUMNS``, as text. ``Forward`` and ``Backward`` are passes per image of all attempts.
    """
    rows = []
    for (protocol, ensemble), own in budget.groupby(["protocol", "ensemble"], observed=True):
        seeds = own["seed"].nunique()
        forward = own["forward"].sum() / seeds
        backward = own["backward"].sum() / seeds
        left = own.groupby("attempt")["accuracy"].mean()
        text = (
            *(str(protocol), str(ensemble), f"{own['eps'].iloc[0]:g}", str(len(left))),
            *(f"{forward:.1f}", f"{backward:.1f}", percent(left.iloc[0]), percent(left.iloc[-1])),
        )
        rows.append((forward + backward, text))
    rows.sort(key=lambda row: -row[0])
    return pd.DataFrame([text for _, text in rows[:MOST_ROWS]], columns=COLUMNS, dtype=str)
