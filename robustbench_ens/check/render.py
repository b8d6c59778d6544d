"""A check's result as text for a terminal and as JSON for machines."""

from __future__ import annotations

from typing import Any

import pandas as pd

from robustbench_ens.check.compare import CheckResult


def _cell(row: Any) -> dict[str, str]:
    """One moved cell in columns; rates in percent, differences in points."""
    over_seeds = f"{100 * row.pinned_mean:.1f} ± {100 * row.pinned_sd:.1f}"
    reference = {"pinned %": over_seeds}
    if row.comparison == "paired":
        flipped = f"{int(row.flips)} of {row.units}"
        reference = {"flipped": flipped, "pinned %": f"{100 * row.pinned:.1f}", "all seeds %": over_seeds}
    return {
        "cell": row.cell,
        **reference,
        "range": f"{100 * row.pinned_low:.1f}..{100 * row.pinned_high:.1f}",
        "fresh % [95%]": f"{100 * row.fresh:.1f} [{100 * row.low:.1f}, {100 * row.high:.1f}]",
        "points": f"{row.difference_points:+.1f}",
        "p": f"{row.p_adjusted:.1g}",
        "moved": row.verdict,
    }


def _table(rows: pd.DataFrame) -> list[str]:
    cells = [_cell(row) for row in rows.itertuples()]
    lines = [{name: name for name in cells[0]}, *cells]
    widths = {name: max(len(line[name]) for line in lines) for name in cells[0]}
    return [
        "  ".join(
            ["", line.pop("cell").ljust(widths["cell"]), *(text.rjust(widths[name]) for name, text in line.items())]
        )
        for line in lines
    ]


def _summary(result: CheckResult) -> str:
    rows = result.rows
    paired = int((rows["comparison"] == "paired").sum())
    return (
        f"{int(rows['moved'].sum())} of {len(rows)} cells moved, {len(result.problems)} structural differences "
        f"({paired} cells paired with the same weights, {len(rows) - paired} against the spread over seeds; "
        f"alpha {result.alpha:g}, Holm)"
    )


def render_text(result: CheckResult) -> str:
    """A plain report: structural differences and moved cells in full, the rest as a count, and what to do."""
    lines = []
    if result.problems:
        lines += ["Structural differences:", *(f"  {problem}" for problem in result.problems), ""]
    moved = result.rows[result.rows["moved"]]
    for (protocol, ensemble, seed, comparison), rows in moved.groupby(
        ["protocol", "ensemble", "seed", "comparison"], sort=False
    ):
        against = "the same weights" if comparison == "paired" else f"{rows['pinned_seeds'].iloc[0]} pinned seeds"
        lines += [f"{protocol} on {ensemble} seed {seed}, against {against}:", *_table(rows), ""]
    lines += [f"note: {note}" for note in result.notes]
    lines.append(_summary(result))
    if result.moved:
        lines.append(
            "Numbers moved: find out why before anything is published (higher robustness may mean a broken attack). "
            "If the change is meant, pin it with `rbe check --update`."
        )
    else:
        lines.append("Nothing moved.")
    return "\n".join(lines)


def render_json(result: CheckResult) -> dict[str, Any]:
    """The whole result in JSON's types; a number that has no meaning for a row is null."""
    rows = result.rows.astype(object).where(result.rows.notna(), None)
    return {
        "moved": result.moved,
        "alpha": result.alpha,
        "problems": result.problems,
        "notes": result.notes,
        "cells": rows.to_dict("records"),
    }
