"""The exports that a command selects, and the files of these exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustbench_ens.core.store import atomic_path
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.document import Page

WRITTEN = {
    "csv": {"csv": "*.csv"},
    "latex": {"latex/tables": "*.tex", "latex/figures": "*-[12]col.pdf"},
}
"""The files of each export that a later report may lack, by folder."""


@dataclass(frozen=True)
class ExportOptions:
    """The selected exports: tidy tables (``csv``), and tables and figures for a paper (``latex``)."""

    csv: bool = False
    latex: bool = False

    @property
    def names(self) -> list[str]:
        """The names of the selected exports, which are options of `rbe report` and folders of the report."""
        return [name for name in WRITTEN if getattr(self, name)]


NOTHING = ExportOptions()


def exported(
    options: ExportOptions, context: Context, pages: Sequence[Page], title: str, command: str
) -> dict[str, bytes]:
    """Return the files of the selected exports, by their path in the folder of the report."""
    files: dict[str, bytes] = {}
    if options.csv:
        from robustbench_ens.reporting.exports.csv_folder import csv_files

        files |= csv_files(context.collection)
    if options.latex:
        from robustbench_ens.reporting.exports.latex_folder import latex_files

        files |= latex_files(context, pages, title, f"{command} --latex")
    return files


def write_exports(options: ExportOptions, files: Mapping[str, bytes], destination: Path) -> None:
    """Write the files into the folder of a report.

    Tables and figures of an earlier report that this one lacks are removed. Exports that are not selected stay as they
    are, see :func:`outdated`.
    """
    for path, content in files.items():
        with atomic_path(destination / path) as temporary:
            temporary.write_bytes(content)
    for option in options.names:
        for folder, pattern in WRITTEN[option].items():
            for there in list((destination / folder).glob(pattern)):
                if f"{folder}/{there.name}" not in files:
                    there.unlink()


def outdated(options: ExportOptions, destination: Path) -> list[str]:
    """Return the exports of an earlier report in the same folder that are not selected this time."""
    return [name for name in WRITTEN if name not in options.names and (destination / name).is_dir()]
