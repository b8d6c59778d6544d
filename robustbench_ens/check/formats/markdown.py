"""A check's result as Markdown, for a pull request's comment or a job's summary on GitHub."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from robustbench_ens.check.formats.text import advice, alike, columns, heading, summary
from robustbench_ens.check.verdicts import CheckResult
from robustbench_ens.core.text import markdown

LONGEST = 60_000
"""Characters; GitHub takes 65,536 in a comment."""


def _text(value: object) -> str:
    """Return ``value`` as :func:`markdown` does, with every @mention broken, so that GitHub notifies nobody."""
    return markdown(value).replace("@", "@<!-- -->")


def _table(rows: pd.DataFrame) -> list[str]:
    cells = [columns(row) for row in rows.itertuples()]
    names = list(cells[0])
    aligned = ["---", *(["---:"] * (len(names) - 1))]
    lines = [map(_text, names), aligned, *(map(_text, cell.values()) for cell in cells)]
    return [f"| {' | '.join(line)} |" for line in lines]


def _tables(rows: pd.DataFrame) -> list[str]:
    return [line for group in alike(rows) for line in (_text(heading(group)) + ":", "", *_table(group), "")]


def _within(lines: Sequence[str], room: int) -> list[str]:
    """Return as many of ``lines`` as fit into ``room`` characters, and a line with the number of omitted ones."""
    kept: list[str] = []
    for number, line in enumerate(lines):
        room -= len(line) + 1
        if room < 0:
            return [
                *kept,
                "",
                f"{len(lines) - number} more lines are omitted here; `--format text` and `json` print all of them.",
            ]
        kept.append(line)
    return kept


def _verdict(result: CheckResult) -> str:
    if not result.moved:
        return "### ✅ Nothing moved"
    parts = [(int(result.rows["moved"].sum()), "moved cell"), (len(result.problems), "structural difference")]
    found = [f"{count} {what}{'s' * (count != 1)}" for count, what in parts if count]
    return f"### ❌ Numbers moved: {' and '.join(found)}"


def render_markdown(result: CheckResult) -> str:
    """Return the verdict, the moved cells, and all cells folded away, in at most ``LONGEST`` characters."""
    lines = [_verdict(result), "", _text(summary(result)) + ".", ""]
    if result.moved:
        lines += [advice(result), ""]
    # Each part has a share of LONGEST of its own, so that many moved cells cannot push out the notes.
    shown = _tables(result.rows[result.rows["moved"]])
    if result.problems:
        shown = ["Structural differences:", "", *(f"- {_text(problem)}" for problem in result.problems), "", *shown]
    lines += _within(shown, LONGEST // 2)
    if len(result.rows):
        everything = _within(_tables(result.rows), LONGEST // 3)
        lines += [f"<details><summary>All {len(result.rows)} cells</summary>", "", *everything, "", "</details>", ""]
    if result.notes:
        notes = [f"- {_text(note)}" for note in result.notes]
        lines += [
            f"<details><summary>{len(notes)} notes</summary>",
            "",
            *_within(notes, LONGEST // 10),
            "",
            "</details>",
        ]
    return "\n".join(lines).rstrip() + "\n"
