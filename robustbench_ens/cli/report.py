"""`rbe report`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from robustbench_ens.cli.options import FilePath, Where, place_options
from robustbench_ens.core.store import DEFAULT_REPORT, Store
from robustbench_ens.errors import UserError

if TYPE_CHECKING:
    from robustbench_ens.outcomes import OutcomeFile


@click.command()
@click.argument("outcomes", nargs=-1, type=FilePath())
@click.option("--name", default=DEFAULT_REPORT, help="Folder under RUNS/reports.", show_default=True)
@click.option("--publish", metavar="NAME", help="Write to reports/NAME instead, with the outcomes beside it.")
@place_options
def report(where: Where, outcomes: tuple[Path, ...], name: str, publish: str | None) -> None:
    """Render outcomes as report.md and index.html.

    OUTCOMES are files or folders; without any, all outcomes of the run directory are rendered.
    """
    from robustbench_ens.cli.sources import outcome_files

    command = ["rbe", "report", *map(str, outcomes), *([] if name == DEFAULT_REPORT else ["--name", name])]
    if publish:  # the outcomes that lie beside it make it again
        command = ["rbe", "report", f"reports/{publish}/outcomes", "--publish", publish]
    with where.store.lock_if_there() if publish else nullcontext():  # what is published is what was read
        write_report(where.store, outcome_files(where.store, outcomes), name, publish, shlex.join(command))


def write_report(store: Store, files: Sequence[OutcomeFile], name: str, publish: str | None, command: str) -> None:
    """Render a report, with the outcomes beside it if it is published; print its summary and where it lies."""
    from robustbench_ens.cli.console import OUT
    from robustbench_ens.cli.summaries import print_summary
    from robustbench_ens.core.locks import hold
    from robustbench_ens.core.paths import inside
    from robustbench_ens.reporting.collect import collect
    from robustbench_ens.reporting.page import render  # with matplotlib, which no other command needs
    from robustbench_ens.reporting.published import publish_outcomes, published_outcomes

    for part in (name, name if publish is None else publish):
        if Path(part).name != part or part in ("", ".", ".."):
            raise UserError(f"report name: expected a plain folder name, got {part!r}")
    destination = inside(Path("reports"), publish, "report name") if publish else store.report_dir(name)
    outcomes = published_outcomes(files, destination / "outcomes") if publish else {}
    collection = collect(files)
    with hold(destination.parent):
        index = render(collection, destination, title=f"Robustness report: {publish or name}", command=command)
        if publish:
            publish_outcomes(outcomes, destination / "outcomes")
    print_summary(collection)
    OUT.print(f"Report: {index} (and {destination / 'report.md'})", markup=False)
