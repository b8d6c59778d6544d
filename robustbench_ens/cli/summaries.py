"""Tables and warnings about outcomes on the terminal."""

from __future__ import annotations

from itertools import groupby

from robustbench_ens.analysis.health import health_warnings
from robustbench_ens.cli.console import OUT, show, table
from robustbench_ens.cli.leaderboard import board_lines
from robustbench_ens.reporting.board import board
from robustbench_ens.reporting.collect import Collection
from robustbench_ens.reporting.sections.overview import has_more
from robustbench_ens.reporting.sections.runs import without_digest
from robustbench_ens.reporting.tables.summaries import summary_tables
from robustbench_ens.reporting.tables.summary import NOT_RUN


def print_summary(collection: Collection) -> None:
    """Print the leaderboard, tables of further numbers, and unhealthy attacks."""
    print_board(collection)
    tables = summary_tables(collection)
    if not has_more(collection):
        tables.pop("", None)
    for title, frame in tables.items():
        show(table(title, [str(column) for column in frame.columns], frame.itertuples(index=False)))
    print_remarks(collection)


def print_board(collection: Collection) -> None:
    """Print the leaderboard of each dataset."""
    rows = board(collection)
    unicode = OUT.encoding.lower().startswith("utf")
    for _, own in groupby(rows, key=lambda row: row.dataset):
        for line in board_lines(list(own), collection.kinds, OUT.width, unicode=unicode):
            OUT.out(line)


def print_remarks(collection: Collection) -> None:
    """Print the number of files without digest, and unhealthy attacks."""
    if text := without_digest(collection):
        OUT.print(f"Note: {text}", markup=False)
    report_unhealthy(collection)


def print_known(collection: Collection) -> None:
    """Print the columns of the summary tables that have numbers, and unhealthy attacks."""
    for title, frame in summary_tables(collection).items():
        known = frame.loc[:, (frame != NOT_RUN).any()]
        show(table(title, [str(column) for column in known.columns], known.itertuples(index=False)))
    report_unhealthy(collection)


def report_unhealthy(collection: Collection) -> None:
    """Print one line for each evaluation with an unhealthy attack."""
    for warning in health_warnings(collection.health):
        OUT.print(f"Warning: {warning}", markup=False)
