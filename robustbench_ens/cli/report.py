"""`rbe report`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from robustbench_ens.cli.options import FilePath, Where, place_options
from robustbench_ens.core.store import DEFAULT_REPORT

if TYPE_CHECKING:
    from robustbench_ens.outcomes import OutcomeFile
    from robustbench_ens.reporting.folder import ReportFolder


@click.command()
@click.argument("outcomes", nargs=-1, type=FilePath())
@click.option("--name", default=DEFAULT_REPORT, help="Folder under RUNS/reports.", show_default=True)
@click.option("--publish", metavar="NAME", help="Write to reports/NAME instead, with the outcomes beside it.")
@click.option(
    "--section", "own", metavar="PACKAGE.MODULE:NAME", multiple=True, help="Add sections of your own; repeatable."
)
@place_options
def report(where: Where, outcomes: tuple[Path, ...], name: str, publish: str | None, own: tuple[str, ...]) -> None:
    """Render outcomes as report.md and index.html.

    OUTCOMES are files or folders; without any, all outcomes of the run directory are rendered.
    """
    from robustbench_ens.cli.sources import outcome_files
    from robustbench_ens.reporting.folder import report_folder

    added = [word for spec in own for word in ("--section", spec)]
    command = ["rbe", "report", *map(str, outcomes), *([] if name == DEFAULT_REPORT else ["--name", name]), *added]
    if publish:  # the outcomes that lie beside it make it again
        command = ["rbe", "report", f"reports/{publish}/outcomes", "--publish", publish, *added]
    files = outcome_files(where.store, outcomes)
    print_report(files, report_folder(where.store, name, publish), shlex.join(command), own)


def print_report(files: Sequence[OutcomeFile], folder: ReportFolder, command: str, own: Sequence[str] = ()) -> None:
    """Write a report; print its summary and where it lies. ``own`` names sections as ``package.module:Name``."""
    from robustbench_ens.cli.console import OUT
    from robustbench_ens.cli.summaries import print_summary
    from robustbench_ens.reporting.collect import collect
    from robustbench_ens.reporting.folder import write_report
    from robustbench_ens.reporting.own_sections import own_section

    collection = collect(files)
    added = [own_section(spec) for spec in own]
    index = write_report(files, collection, folder, command, added)
    print_summary(collection)
    OUT.print(f"Report: {index} (and {folder.path / 'report.md'})", markup=False)
