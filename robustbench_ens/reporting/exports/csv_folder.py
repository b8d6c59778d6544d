"""The folder of tidy tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from robustbench_ens.reporting.collect import Collection
from robustbench_ens.reporting.exports.csv_tables import TABLES
from robustbench_ens.reporting.exports.tidy import Tidy

FOLDER = "csv"


def csv_files(collection: Collection) -> dict[str, bytes]:
    """Return the files of the folder by their path in the report: one per table, and a README about their columns."""
    texts = {table.name: table.text(collection) for table in TABLES}
    rows = {name: text.count("\n") - 1 for name, text in texts.items()}  # text cells are one line each
    files = {f"{FOLDER}/{name}.csv": text for name, text in texts.items()}
    files[f"{FOLDER}/README.md"] = readme(TABLES, rows)
    return {path: text.encode() for path, text in files.items()}


def readme(tables: Iterable[Tidy], rows: Mapping[str, int]) -> str:
    """Return the folder's README, which explains the format, the files and their columns.

    Args:
        tables: the tables.
        rows: the number of rows of each.
    """
    lines = [HEAD]
    for table in tables:
        lines += [f"## {table.name}.csv", "", f"{table.about} {rows[table.name]:,} rows.", ""]
        lines += ["| column | what |", "| --- | --- |"]
        lines += [f"| {column.name} | {column.meaning} |" for column in table.columns]
        lines.append("")
    return "\n".join(lines)


HEAD = """\
# Tidy tables

The numbers of the report, one row per observation. The files are UTF-8 with commas and a heading. Missing values are
empty.

```python
import pandas as pd
frame = pd.read_csv("accuracies.csv", keep_default_na=False, na_values=[""])
```

`_percent` and `_points` (percentage points) hold 100 times a rate, with 12 significant digits. Intervals of accuracies
are Wilson's, at 95%; those of means over pairs are bootstrapped over images.

Text that a spreadsheet may take for a formula (it begins with `=`, `+`, `-` or `@`) is preceded by an apostrophe, and
so is text that begins with an apostrophe. Remove the first character to restore it. Control characters are replaced.
"""
