"""Tables of the images that one suite of variants breaks beyond another, by target and by variant."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from robustbench_ens.analysis.health import MARK
from robustbench_ens.core.text import percent, shorten

COLUMNS = [
    *("Ensemble", "Seed", "Protocol", "Beyond", "Eps", "n", "Accuracy under it", "Under the other", "Under both"),
    *("Only it breaks", "Only the other"),
]
NUMERIC = ("Eps", "n", "Only it breaks", "Only the other")
BY_VARIANT = ["Ensemble", "Seed", "Order", "Crafted on", "Attack", "Loss", "Start", "Adds", "Left"]
_LONGEST = 64  # characters of a name


def beyond_table(pairs: pd.DataFrame, unhealthy: Callable[[str], set[str]] = lambda protocol: set()) -> pd.DataFrame:
    """Return one row per target and pair of protocols.

    Args:
        pairs: the pairs of :class:`~robustbench_ens.analysis.beyond.Beyond`.
        unhealthy: returns the ensembles whose numbers under a protocol rest on an unhealthy attack, which are marked.

    Returns:
        the columns ``COLUMNS``, as text.
    """
    rows = []
    for row in pairs.to_dict("records"):
        marks = [MARK if row["ensemble"] in unhealthy(row[name]) else "" for name in ("protocol", "beyond")]
        both = max(marks)
        rates = zip(("correct", "correct_beyond", "correct_both"), (*marks, both), strict=True)
        rows.append(
            (
                shorten(row["ensemble"], _LONGEST),
                str(row["seed"]),
                row["protocol"],
                row["beyond"],
                f"{row['eps']:g}",
                str(row["n"]),
                *(percent(row[name] / row["n"]) + mark for name, mark in rates),
                f"{round(row['only'], 1)}{both}",
                f"{round(row['only_beyond'], 1)}{both}",
            )
        )
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)


def variants_table(variants: pd.DataFrame) -> pd.DataFrame:
    """Return one row per variant that adds an image, in greedy order, target by target.

    Args:
        variants: the variants of :class:`~robustbench_ens.analysis.beyond.Beyond` for one pair of protocols.

    Returns:
        the columns ``BY_VARIANT``, as text.
    """
    rows = [
        (
            shorten(row["ensemble"], _LONGEST),
            str(row["seed"]),
            str(row["order"]),
            shorten(row["source"], 40),
            row["attack"],
            row["loss"],
            str(row["restart"]),
            str(round(row["adds"], 1)),
            str(round(row["left"], 1)),
        )
        for row in variants.to_dict("records")
    ]
    return pd.DataFrame(rows, columns=BY_VARIANT, dtype=str)
