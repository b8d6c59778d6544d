"""A check's result as text for a terminal and as JSON for machines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from robustbench_ens.check.verdicts import RATE, CheckResult
from robustbench_ens.errors import escaped


def columns(row: Any) -> dict[str, str]:
    """Return the columns of a compared cell.

    Rates are in percent and their differences in percentage points. Means are in their own unit.
    """
    rate = row.measured_in == RATE
    scale, digits, unit = (100, ".1f", "%") if rate else (1, ".4g", row.measured_in)

    def text(value: float) -> str:
        return f"{scale * value:{digits}}"

    over_seeds = f"{text(row.pinned_mean)} ± {text(row.pinned_sd)}"
    reference = {f"pinned {unit}": over_seeds}
    if row.comparison == "paired":
        flipped = {"flipped": f"{int(row.flips)} of {int(row.units)}"} if rate else {}
        reference = flipped | {f"pinned {unit}": text(row.pinned), f"all seeds {unit}": over_seeds}
    return {
        "cell": row.cell,
        **reference,
        "range": f"{text(row.pinned_low)}..{text(row.pinned_high)}",
        f"fresh {unit} [95%]": f"{text(row.fresh)} [{text(row.low)}, {text(row.high)}]",
        **({"points": f"{row.difference_points:+.1f}"} if rate else {"difference": f"{row.difference:+.4g}"}),
        "p": f"{row.p_adjusted:.1g}",
        "moved": row.verdict,
    }


def _table(rows: pd.DataFrame) -> list[str]:
    cells = [columns(row) for row in rows.itertuples()]
    lines = [{name: name for name in cells[0]}, *cells]
    widths = {name: max(len(line[name]) for line in lines) for name in cells[0]}
    return [
        "  ".join(
            ["", line.pop("cell").ljust(widths["cell"]), *(text.rjust(widths[name]) for name, text in line.items())]
        )
        for line in lines
    ]


def summary(result: CheckResult) -> str:
    """Return one line with the number of compared cells, the kinds of comparison and the number of moved cells."""
    rows = result.rows
    paired = int((rows["comparison"] == "paired").sum())
    return (
        f"{int(rows['moved'].sum())} of {len(rows)} cells moved, {len(result.problems)} structural differences "
        f"({paired} cells paired with the same weights, {len(rows) - paired} against the spread over seeds; "
        f"alpha {result.alpha:g}, Holm)"
    )


def advice(result: CheckResult) -> str:
    """Return the sentence that states what to do next."""
    if not result.moved:
        return "Nothing moved."
    return (
        "Numbers moved: find out why before anything is published (higher robustness may mean a broken attack). "
        f"If the change is meant, pin it with `rbe pin{' --paired' if result.paired else ''}`."
    )


def alike(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the rows in groups that share a table: one evaluation, kind of comparison and unit."""
    keys = ["protocol", "ensemble", "seed", "comparison", "measured_in"]
    return [group for _, group in rows.groupby(keys, sort=False)]


def evaluation_name(row: Any) -> str:
    """Return the name of the evaluation that a compared cell belongs to."""
    return f"{row['protocol']} on {row['ensemble']} seed {row['seed']}"


def heading(rows: pd.DataFrame) -> str:
    """Return the heading of a group of :func:`alike`: its evaluation and the reference it was compared with."""
    row = rows.iloc[0]
    against = "the same weights" if row["comparison"] == "paired" else f"{row['pinned_seeds']} pinned seeds"
    return f"{evaluation_name(row)}, against {against}"


def render_text(result: CheckResult) -> str:
    """Return a plain report: structural differences, moved cells, notes, the number of cells, and what to do next."""
    lines = []
    if result.problems:
        lines += ["Structural differences:", *(f"  {problem}" for problem in result.problems), ""]
    moved = result.rows[result.rows["moved"]]
    for rows in alike(moved):
        lines += [f"{heading(rows)}:", *_table(rows), ""]
    lines += [f"note: {note}" for note in result.notes]
    lines += [summary(result), advice(result)]
    return escaped("\n".join(lines))


def render_json(result: CheckResult) -> dict[str, Any]:
    """Return the whole result in JSON's types. A number that has no meaning for a row is null."""
    rows = result.rows.replace([np.inf, -np.inf], np.nan)
    rows = rows.astype(object).where(rows.notna(), None)
    return {
        "moved": result.moved,
        "alpha": result.alpha,
        "problems": result.problems,
        "notes": result.notes,
        "cells": rows.to_dict("records"),
    }
