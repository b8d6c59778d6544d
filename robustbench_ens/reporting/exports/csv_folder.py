"""The folder of tidy tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from robustbench_ens.reporting.collect import Collection
from robustbench_ens.reporting.exports.csv_tables import TABLES
from robustbench_ens.reporting.exports.tidy import Tidy

FOLDER = "csv"


def csv_files(collection: Collection) -> dict[str, bytes]:
    """Return the files of the folder by their path in the report: a table per file, and what their columns mean."""
    texts = {table.name: table.text(collection) for table in TABLES}
    rows = {name: text.count("\n") - 1 for name, text in texts.items()}  # text cells are one line each
    files = {f"{FOLDER}/{name}.csv": text for name, text in texts.items()}
    files[f"{FOLDER}/README.md"] = readme(TABLES, rows)
    return {path: text.encode() for path, text in files.items()}


def readme(tables: Iterable[Tidy], rows: Mapping[str, int]) -> str:
    """Return the folder's README: how to read the files, then one line per file and per column.

    Args:
        tables: what was written.
        rows: how many rows each has.
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

The numbers of the report, one row per observation. UTF-8, commas, a heading; nothing stands for what is missing.

```python
import pandas as pd
frame = pd.read_csv("accuracies.csv", keep_default_na=False, na_values=[""])
```

`_percent` and `_points` (percentage points) hold 100 times a rate, with 12 significant digits. Intervals of accuracies
are Wilson's, at 95%; those of means over pairs are bootstrapped over images.

Text that a spreadsheet may take for a formula (it begins with `=`, `+`, `-` or `@`) has an apostrophe before it, and so
has text that begins with an apostrophe: remove the first character to get it back. Control characters are replaced.
"""
