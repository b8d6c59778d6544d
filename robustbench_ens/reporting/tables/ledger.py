"""Tables of the variant ledger: the variants of one target, and a summary of all targets."""

from __future__ import annotations

from string import ascii_uppercase

import pandas as pd

from robustbench_ens.core.text import percent, shorten, with_brackets

COLUMNS = ["Order", "Crafted on", "Attack", "Loss", "Start", "Accuracy alone", "Breaks", "Only it", "So far", "Same as"]
NEVER = "never"


def ledger_table(ledger: pd.DataFrame) -> pd.DataFrame:
    """Return one row per variant: those that decide in greedy order, then those that never decide.

    Args:
        ledger: rows of ``ledger.ledger`` of one target and protocol.

    Returns:
        the columns ``COLUMNS``, as text.
    """
    rows = []
    for row in ledger.sort_values(["order", "accuracy"], na_position="last", kind="stable").to_dict("records"):
        decides = pd.notna(row["order"])
        rows.append(
            (
                str(row["order"]) if decides else NEVER,
                shorten(row["source"], 40),
                row["attack"],
                row["loss"],
                str(row["restart"]),
                with_brackets(row["accuracy"], row["low"], row["high"]),
                str(round(row["kills"], 1)),
                str(round(row["unique"], 1)),
                percent(row["cumulative"]) if decides else "",
                _letter(row["twins"]),
            )
        )
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)


DECIDING = ["Ensemble", "Seed", "Variants that decide", "Strongest alone", "It leaves", "All leave"]
DECIDING += ["All or nothing", "Repeat another"]


def deciding_table(ledger: pd.DataFrame) -> pd.DataFrame:
    """Return one row per target, with the number of variants that decide and the accuracy that they leave.

    Args:
        ledger: rows of ``ledger.ledger`` of one protocol.

    Returns:
        the columns ``DECIDING``, as text.
    """
    rows = []
    for (ensemble, seed), own in ledger.groupby(["ensemble", "seed"], observed=True):
        deciding = own.dropna(subset="order").sort_values("order")
        copies = own[own["twins"] > 0]
        cells = [""] * 3
        if len(deciding):
            first = deciding.iloc[0]
            called = f"{first['attack']} with {first['loss']} from {shorten(first['source'], 40)}"
            cells = [called, percent(first["accuracy"]), percent(deciding["cumulative"].iloc[-1])]
        worst = percent(own["all_or_nothing"].iloc[0])
        count = f"{len(deciding)} of {len(own)}"
        repeats = str(len(copies) - copies["twins"].nunique())
        rows.append((str(ensemble), str(seed), count, *cells, worst, repeats))
    return pd.DataFrame(rows, columns=DECIDING, dtype=str)


def _letter(group: int) -> str:
    """Return the letter of a group of equal variants: ``A`` for 1, ``AA`` for 27, and nothing for 0."""
    if not group:
        return ""
    rounds, position = divmod(group - 1, len(ascii_uppercase))
    return ascii_uppercase[position] * (rounds + 1)
