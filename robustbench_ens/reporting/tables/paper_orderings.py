"""Whether the orderings that the DVERGE paper shows hold in our outcomes, eps by eps."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.reporting.text import points, with_brackets

COLUMNS = ["In the paper", "Protocol", "eps", "DVERGE", "Nearest other", "Verdict"]
LOWEST = "DVERGE has the lowest transferability between sub-models (Section 4.2, Figure 3)"
HIGHEST = {
    "blackbox": "DVERGE has the highest black-box accuracy (Section 4.3, Figure 4)",
    "whitebox": "DVERGE has the highest white-box accuracy (Section 4.3, Figure 4)",
}
CLEAN = "DVERGE's clean accuracy is comparable to the baseline's (Section 4.3)"
OTHERS = ("ADP", "GAL", "baseline")
CLEARLY, HOLDS, FAILS = "holds clearly", "holds, not told apart", "does not hold"


def paper_orderings(accuracies: pd.DataFrame, transfer: pd.DataFrame, subjects: pd.DataFrame) -> pd.DataFrame:
    """One row per ordering, protocol, DVERGE ensemble and eps that DVERGE and one of the others share.

    Each DVERGE ensemble is set beside the best of ``OTHERS`` of as many sub-models. An ordering holds clearly where no
    two 95% intervals touch, in any pair of seeds; that is a stricter test than one of the difference.

    Args:
        accuracies: rows of ``derive.accuracies`` under white-box and black-box protocols that ask what the paper asks.
        transfer: rows of ``derive.mean_transferability``.
        subjects: ensembles in the paper's terms, as ``paper.subjects`` gives them, trained as in its main results.

    Returns:
        the columns ``COLUMNS``, as text.
    """
    rates = [accuracies.rename(columns={"accuracy": "rate"}), transfer]
    known = pd.concat([frame for frame in rates if len(frame)] or rates[:1], ignore_index=True)
    known = known.drop(columns=["dataset", "method", "sub_models"]).merge(subjects, on="ensemble")
    rows = []
    for kind, claim in {"transferability": LOWEST, **HIGHEST}.items():
        own = known[(known["kind"] == kind) & (known["eps"] > 0)]
        for (protocol, _, eps), cell in own.groupby(["protocol", "sub_models", "eps"], observed=True):
            for ours, other, sign in _against_the_nearest(cell, lowest=kind == "transferability"):
                verdict = FAILS if sign <= 0 else CLEARLY if _apart(ours, other) else HOLDS
                rows.append((claim, str(protocol), f"{eps:g}", _text(ours), _text(other), verdict))
    clean = known[known["eps"] == 0].sort_values("n", ascending=False).drop_duplicates(["ensemble", "seed"])
    clean = clean[clean["method"].isin(["DVERGE", "baseline"])]
    for _, cell in clean.groupby("sub_models"):
        for ours, other, difference in _against_the_nearest(cell):
            rows.append((CLEAN, "", "clean", _text(ours), _text(other), f"{points(difference)} points"))
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)


def _against_the_nearest(cell: pd.DataFrame, lowest: bool = False) -> list[tuple[pd.Series, pd.Series, float]]:
    """Each DVERGE ensemble of ``cell``, the best of the others, and by how much DVERGE is better, in [-1, 1]."""
    bounds = cell.groupby(["method", "ensemble"], observed=True).agg(
        rate=("rate", "mean"), low=("low", "min"), high=("high", "max")
    )
    bounds = bounds.reset_index()
    ours, others = bounds[bounds["method"] == "DVERGE"], bounds[bounds["method"].isin(OTHERS)]
    if others.empty:
        return []
    best = others.sort_values("rate").iloc[0 if lowest else -1]
    sign = -1 if lowest else 1
    return [(row, best, sign * round(float(row["rate"] - best["rate"]), 12)) for _, row in ours.iterrows()]


def _apart(one: pd.Series, other: pd.Series) -> bool:
    return bool(one["low"] > other["high"] or other["low"] > one["high"])


def _text(row: pd.Series) -> str:
    return f"{row['ensemble']} {with_brackets(row['rate'], row['low'], row['high'])}"
