"""The folder of tidy tables."""

from __future__ import annotations

from robustbench_ens.reporting.collect import Collection
from robustbench_ens.reporting.exports.csv_tables import TABLES, readme

FOLDER = "csv"


def csv_files(collection: Collection) -> dict[str, bytes]:
    """Return the files of the folder by their path in the report: a table per file, and what their columns mean."""
    texts = {table.name: table.text(collection) for table in TABLES}
    rows = {name: text.count("\n") - 1 for name, text in texts.items()}  # text cells are one line each
    files = {f"{FOLDER}/{name}.csv": text for name, text in texts.items()}
    files[f"{FOLDER}/README.md"] = readme(TABLES, rows)
    return {path: text.encode() for path, text in files.items()}
