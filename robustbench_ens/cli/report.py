"""`rbe report`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from robustbench_ens.cli.options import FilePath, Serving, Where, place_options, serve_options
from robustbench_ens.core.store import DEFAULT_REPORT
from robustbench_ens.errors import UserError

if TYPE_CHECKING:
    from robustbench_ens.outcomes import OutcomeFile
    from robustbench_ens.reporting.exports.options import ExportOptions
    from robustbench_ens.reporting.folder import ReportFolder

STARTS = {"csv": "README.md", "latex": "report.tex"}
"""The file of each export to start reading at."""


@click.command()
@click.argument("outcomes", nargs=-1, type=FilePath())
@click.option("--name", default=DEFAULT_REPORT, help="Folder under RUNS/reports.", show_default=True)
@click.option("--publish", metavar="NAME", help="Write to reports/NAME instead, with the outcomes beside it.")
@click.option(
    "--section", "own", metavar="PACKAGE.MODULE:NAME", multiple=True, help="Add sections from outside. Repeatable."
)
@click.option("--csv", is_flag=True, help="Also write tidy tables into the report's folder csv/.")
@click.option("--latex", is_flag=True, help="Also write tables and figures for a paper into latex/.")
@serve_options
@place_options
def report(
    where: Where,
    outcomes: tuple[Path, ...],
    name: str,
    publish: str | None,
    own: tuple[str, ...],
    csv: bool,
    latex: bool,
    serving: Serving | None,
) -> None:
    """Render outcomes as report.md and index.html.

    OUTCOMES are files or folders; without any, all outcomes of the run directory are rendered.
    """
    from robustbench_ens.cli.console import OUT
    from robustbench_ens.cli.serve import ReportServer, open_browser, seen, serve
    from robustbench_ens.cli.sources import outcome_files
    from robustbench_ens.reporting.exports.options import ExportOptions
    from robustbench_ens.reporting.folder import report_folder

    added = [word for spec in own for word in ("--section", spec)]
    command = ["rbe", "report", *map(str, outcomes), *([] if name == DEFAULT_REPORT else ["--name", name]), *added]
    if publish:  # the printed command must work in a checkout, which has the outcomes beside the report
        command = ["rbe", "report", f"reports/{publish}/outcomes", "--publish", publish, *added]
    if publish and serving is not None:
        raise UserError("--serve: expected no --publish beside it; publish the report when it is complete")
    folder = report_folder(where.store, name, publish)
    sources = list(outcomes) or [where.store.root / "outcomes"]
    made = seen(sources)
    server = None if serving is None else ReportServer(folder.path, serving.port)  # a taken port is known at once

    def make() -> None:
        print_report(outcome_files(where.store, outcomes), folder, shlex.join(command), own, ExportOptions(csv, latex))

    make()
    if server is not None and serving is not None:
        if serving.opens:
            open_browser(server)
        serve(server, sources, made, make, OUT.print)


def print_report(
    files: Sequence[OutcomeFile],
    folder: ReportFolder,
    command: str,
    own: Sequence[str] = (),
    options: ExportOptions | None = None,
) -> None:
    """Write a report, and print its leaderboard and path.

    Args:
        files: the outcomes.
        folder: folder of the report.
        command: the command line that makes the report again.
        own: sections from outside, as ``package.module:Name``.
        options: exports to write beside the pages.
    """
    from robustbench_ens.cli.console import OUT
    from robustbench_ens.cli.summaries import print_board, print_remarks
    from robustbench_ens.reporting.collect import collect
    from robustbench_ens.reporting.exports.options import NOTHING, outdated
    from robustbench_ens.reporting.external_sections import import_section
    from robustbench_ens.reporting.folder import write_report

    collection = collect(files)
    added = [import_section(spec) for spec in own]
    wanted = options or NOTHING
    index = write_report(files, collection, folder, command, added, wanted)
    print_board(collection)  # all else is in the report
    print_remarks(collection)
    OUT.print(f"Report: {index} (and {folder.path / 'report.md'})", markup=False)
    for export in wanted.names:
        OUT.print(f"{export}: {folder.path / export / STARTS[export]}", markup=False)
    for export in outdated(wanted, folder.path):
        path = folder.path / export
        OUT.print(f"{path} is of an earlier report; --{export} renews it", markup=False)
