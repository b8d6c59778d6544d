"""The folder of a report: under the run directory or, published, under ``reports/`` with its outcomes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustbench_ens.core.files import visible_files
from robustbench_ens.core.locks import hold
from robustbench_ens.core.paths import inside
from robustbench_ens.core.store import Store, atomic_path
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import OutcomeFile, arrays_path, measurements_path, read_evaluations
from robustbench_ens.reporting.collect import Collection
from robustbench_ens.reporting.exports.options import NOTHING, ExportOptions
from robustbench_ens.reporting.external_sections import ExternalSection
from robustbench_ens.reporting.heading import heading

PUBLISHED = Path("reports")
"""The folder of published reports in a checkout."""


@dataclass(frozen=True)
class ReportFolder:
    """The folder of a report. If the report is ``published``, its outcomes lie beside it."""

    path: Path
    published: bool

    @property
    def outcomes(self) -> Path:
        """The folder of the outcomes beside a published report."""
        return self.path / "outcomes"


def report_folder(store: Store, name: str, publish: str | None = None) -> ReportFolder:
    """Return the folder of the report ``name`` in a run directory, or of the published report ``publish``.

    Raises:
        UserError: a name is not a plain folder name.
    """
    for part in (name, name if publish is None else publish):
        if Path(part).name != part or part in ("", ".", ".."):
            raise UserError(f"report name: expected a plain folder name, got {part!r}")
    if publish:
        return ReportFolder(inside(PUBLISHED, publish, "report name"), published=True)
    return ReportFolder(store.report_dir(name), published=False)


def write_report(
    files: Sequence[OutcomeFile],
    collection: Collection,
    folder: ReportFolder,
    command: str,
    own: Sequence[ExternalSection] = (),
    options: ExportOptions = NOTHING,
) -> Path:
    """Render a report into its folder while holding the folder's lock. Copy the outcomes if the report is published.

    Args:
        files: the outcomes.
        collection: the collection of the same outcomes.
        folder: see :func:`report_folder`.
        command: the command line that makes this report again.
        own: sections from outside.
        options: the exports to write in addition to the pages.

    Returns:
        path of `index.html`.

    Raises:
        UserError: another process holds the folder, a name in a file's provenance leads out of it, an outcomes file
            has changed since it was read, or one of ``own`` fails.
    """
    from robustbench_ens.reporting.page import render  # imports the templates, which only this function needs

    outcomes = published_outcomes(files, folder.outcomes) if folder.published else {}
    with hold(folder.path.parent):
        index = render(collection, folder.path, title=heading(collection), command=command, own=own, options=options)
        if folder.published:
            publish_outcomes(outcomes, folder.outcomes)
            check_published(files, outcomes)
    return index


def published_outcomes(files: Sequence[OutcomeFile], folder: Path) -> dict[Path, Path]:
    """Return the paths of a published report's outcomes in ``folder``, with the files that they are copied from.

    Raises:
        UserError: a name in a file's provenance leads out of the folder.
    """
    wanted: dict[Path, Path] = {}
    for file in files:
        protocol = file.provenance["protocol"]
        target = file.provenance["target"]
        own = f"{protocol['name']}-{protocol['hash']}"
        place = inside(folder, f"{own}/{file.path.name}", f"{file.path}: name of the protocol")
        if place in wanted:  # the same recipe and seed with other weights, from another run directory
            name = f"{own}/{place.stem}-{target['weights'][:10]}{place.suffix}"
            place = inside(folder, name, f"{file.path}: digest of the weights")
        wanted[place] = file.path
        for beside in (measurements_path, arrays_path):
            if beside(file.path).exists():
                wanted[beside(place)] = beside(file.path)
    return wanted


def publish_outcomes(wanted: Mapping[Path, Path], folder: Path) -> None:
    """Copy the files ``wanted`` into ``folder`` and remove all others from it.

    Args:
        wanted: see :func:`published_outcomes`.
        folder: the folder of the outcomes beside a report.
    """
    for destination, source in wanted.items():
        # A report may be made again from the published outcomes themselves.
        if not destination.exists() or not destination.samefile(source):
            with atomic_path(destination) as temporary:
                shutil.copyfile(source, temporary)
    for left_over in set(visible_files(folder, "")) - set(wanted):
        left_over.unlink()
        if not any(left_over.parent.iterdir()):
            left_over.parent.rmdir()


def check_published(files: Sequence[OutcomeFile], wanted: Mapping[Path, Path]) -> None:
    """Check that the copies have the content that the report was made from.

    Args:
        files: the outcomes that the report was made from.
        wanted: see :func:`published_outcomes`.

    Raises:
        UserError: another command wrote new outcomes after they were read and before they were copied.
    """
    copies = {source: copy for copy, source in wanted.items()}
    for file in files:
        try:
            (copy,) = read_evaluations([copies[file.path]])
            same = copy.provenance == file.provenance
        except UserError:  # the copy mixes tables or arrays of old and new outcomes
            same = False
        if not same:
            raise UserError(
                f"{file.path}: expected outcomes that stay the same while they are published, got new ones; run the "
                "command again"
            )
