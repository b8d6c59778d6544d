"""A table of pairs of ensembles under one protocol: their differences and the tests of these."""

from __future__ import annotations

from collections.abc import Set

import pandas as pd

from robustbench_ens.analysis.health import MARK
from robustbench_ens.core.text import NBSP, p_value, points, shorten

COLUMNS = [
    *("Higher", "Lower", "Difference, points", "Only higher", "Only lower", "n", "Seeds"),
    *("p", "p (Holm)", "Verdict"),
]
BY_SEED = ["p by seed", "p over seeds"]
"""The columns that several seeds add."""

_LONGEST = 64  # characters of a name


def comparison_table(comparisons: pd.DataFrame, unhealthy: Set[str] = frozenset()) -> pd.DataFrame:
    """Return one row per pair, the largest difference first.

    Args:
        comparisons: rows of ``compare.comparisons`` of one protocol.
        unhealthy: ensembles whose numbers rest on an unhealthy attack. Their differences are marked.

    Returns:
        the columns ``COLUMNS``, and ``BY_SEED`` if there are several seeds, as text.
    """
    rows = []
    for row in comparisons.sort_values("difference", ascending=False, kind="stable").to_dict("records"):
        mark = MARK if unhealthy & {row["better"], row["worse"]} else ""
        better = shorten(row["better"], _LONGEST)
        worse = shorten(row["worse"], _LONGEST)
        # Interval ends coincide if the bootstrap found no variation, as when no image differs.
        interval = f" [{points(row['low'])},{NBSP}{points(row['high'])}]" if row["low"] < row["high"] else ""
        rows.append(
            {
                "Higher": better,
                "Lower": worse,
                "Difference, points": points(row["difference"]) + interval + mark,
                "Only higher": str(row["only_better"]),
                "Only lower": str(row["only_worse"]),
                "n": str(row["n"]),
                "Seeds": str(row["seeds"]),
                "p by seed": ", ".join(map(p_value, row["p_by_seed"])),
                "p over seeds": p_value(row["p_seeds"]) if pd.notna(row["p_seeds"]) else "",
                "p": p_value(row["p"]),
                "p (Holm)": p_value(row["p_adjusted"]),
                "Verdict": f"{better} beats {worse}" if row["supported"] else "tied",
            }
        )
    several = (comparisons["seeds"] > 1).any()
    columns = [*COLUMNS[:7], *(BY_SEED if several else []), *COLUMNS[7:]]
    return pd.DataFrame(rows, columns=columns, dtype=str)
